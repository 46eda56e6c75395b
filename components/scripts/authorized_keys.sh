# Let these SSH public keys log in as a user, besides what others have put there. One that is not wanted any more goes: on
# a machine of the stack's own if it ever was, on another if it was put here.
# usage: authorized_keys.sh USER own|others KEY…     (KEY: TYPE BASE64)
user=$1 machine=$2
shift 2
home=$(getent passwd "$user" | cut -d : -f 6)
[ -n "$home" ] || fail "no user $user on $(hostname)"
group=$(id -gn "$user")
file=$home/.ssh/authorized_keys ours=/var/lib/cilium-bgp/authorized_keys.$user

install -d -m 700 -o "$user" -g "$group" "$home/.ssh"
mkdir -p "${ours%/*}"
[ -e "$file" ] || install -m 600 -o "$user" -g "$group" /dev/null "$file"
[ -e "$ours" ] || install -m 600 /dev/null "$ours"
printf '%s\n' "$@" >"$ours.wanted"

# Ours are known before they are there, and until they are gone: this may be cut off anywhere.
awk -v machine="$machine" '
    FILENAME == ARGV[1] { for (i = 1; i <= NF; i++) there[$i]; next }
    FILENAME == ARGV[2] { print; known[$2]; next }
    !($2 in known) && (machine == "own" || !($2 in there))' "$file" "$ours" "$ours.wanted" | put "$ours" 600
awk '
    FILENAME == ARGV[1] { wanted[$2] = $0; next }
    FILENAME == ARGV[2] { if (!($2 in wanted)) gone[$2]; next }
    { for (i = 1; i <= NF; i++) { seen[$i]; if ($i in gone) next } print }
    END { for (key in wanted) if (!(key in seen)) print wanted[key] }' "$ours.wanted" "$ours" "$file" >"$ours.lines"
install -m 600 -o "$user" -g "$group" "$ours.lines" "$file.new"
mv "$file.new" "$file"
awk 'NR == FNR { wanted[$2]; next } $2 in wanted' "$ours.wanted" "$ours" | put "$ours" 600
rm "$ours.wanted" "$ours.lines"
applied
