# Give this user an SSH key pair if it has none and print the public half; the private half stays here.
key=$HOME/.ssh/id_ed25519
command -v ssh-keygen >/dev/null || apt_install openssh-client
[ -f "$key" ] || {
    [ -d "${key%/*}" ] || mkdir -m 700 "${key%/*}"
    ssh-keygen -q -t ed25519 -N '' -C "cilium-bgp@$(hostname)" -f "$key"
}
[ -s "$key.pub" ] || ssh-keygen -y -f "$key" >"$key.pub"
cut -d ' ' -f 1,2 "$key.pub"
