# Install or upgrade k3s by its official installer and wait until it runs.
# usage: k3s_install.sh server|agent VERSION INSTALLER_URL ARTIFACT_URL SECONDS USER [SERVER_URL [AUTHORITY [SNAPSHOT]]]
# On standard input: the node's password, a line; then config.yaml, with the join token. USER: gets a kubeconfig.
# AUTHORITY: hash of that of the cluster which a server joins at SERVER_URL; empty: there is none, and it starts one,
# with what the SNAPSHOT has, if one is named.
role=$1 version=$2 installer_url=$3 artifact_url=$4 limit=$5 user=$6 server=${7:-} authority=${8:-} snapshot=${9:-}
config=/etc/rancher/k3s/config.yaml
case $role in
server) unit=k3s other=k3s-agent ;;
agent) unit=k3s-agent other=k3s ;;
*) fail "role $role is neither server nor agent" ;;
esac

[ ! -e "/etc/systemd/system/$other.service" ] ||
    fail "$(hostname) already runs $other and cannot become $role in place; remove the node from the configuration, run once, then add it again"

read -r password
wanted=$(cat)
home=$(getent passwd "$user" | cut -d : -f 6)
[ -n "$home" ] || fail "no user $user on $(hostname); lxd.loginUser must be the image's own user"

# What a node that has run cannot bear. A version as four numbers: v1.25.6+k3s1 is 1 25 6 1.
numbers() { echo "$1" | sed 's/^v//; s/+k3s/ /; s/[.-]/ /g'; }
older() { # A B C D  A' B' C' D': the first is older than the second
    [ "$1" -lt "$5" ] || { [ "$1" -eq "$5" ] && { [ "$2" -lt "$6" ] || { [ "$2" -eq "$6" ] && {
        [ "$3" -lt "$7" ] || { [ "$3" -eq "$7" ] && [ "$4" -lt "$8" ]; }
    }; }; }; }
}
runs=$(k3s --version 2>/dev/null | sed -n 's/^k3s version \(v[0-9.]*+k3s[0-9]*\) .*/\1/p')
if [ -n "$runs" ] && [ -d /var/lib/kubelet ]; then
    # shellcheck disable=SC2046 # numbers
    ! older $(numbers "$version") $(numbers "$runs") ||
        fail "$(hostname) runs k3s $runs, k3s.version is $version; k3s does not go back to an older release. Write $runs or later."
    minor=${runs#v*.} minor=${minor%%.*} next=${version#v*.} next=${next%%.*}
    [ "$next" -le $((minor + 1)) ] ||
        fail "$(hostname) runs k3s $runs, k3s.version is $version; Kubernetes goes one minor release at a time. Write a $(echo "$runs" | cut -d . -f 1).$((minor + 1)) first, run, and go on from there."
fi
if [ "$role" = server ] && [ -e "$config" ] && [ -d /var/lib/rancher/k3s/server/db ]; then
    for key in cluster-cidr service-cidr; do
        was=$(grep "\"$key\": " "$config" | sed 's/.*: "//; s/".*//')
        is=$(echo "$wanted" | grep "\"$key\": " | sed 's/.*: "//; s/".*//')
        [ "$was" = "$is" ] || [ -z "$was" ] ||
            fail "the cluster has $key $was, and $is is asked for; addresses of a running cluster cannot change. Write $was, or make another stack."
    done
fi
# Pods of a former cluster, its agent of Cilium among them, run on until kubelet ends them: the first pods of this one
# would get their addresses from that agent, and nobody would find them there.
authority_in() { sed -n 's/.*"token": "K10\([^:]*\)::.*/\1/p' "$@"; }
if [ "$role" = agent ] && [ -e "$config" ] && was=$(authority_in "$config") && [ -n "$was" ] &&
    [ "$was" != "$(echo "$wanted" | authority_in)" ] && command -v k3s-killall.sh >/dev/null; then
    echo "$(hostname): ending the pods of a former cluster" >&2
    limited "$(left "$limit")" k3s-killall.sh </dev/null >&2 || fail "the pods of a former cluster could not be ended (k3s-killall.sh); its lines are above"
    change
fi
printf '%s\n' "$wanted" | put "$config" 600
# k3s looks at this only as long as it has no etcd; SQLite, which an earlier version's single server has, becomes one.
if [ "$role" = server ] && ! [ -d /var/lib/rancher/k3s/server/db/etcd ]; then
    if [ -z "$authority" ] || [ -e /var/lib/rancher/k3s/server/db/state.db ]; then
        echo 'cluster-init: true'
    else
        token=$(echo "$wanted" | sed -n 's/^ "token": "\(.*\)",*$/\1/p')
        printf 'server: "%s"\ntoken: "K10%s::server:%s"\n' "$server" "$authority" "$token"
    fi | put "$config.d/cilium-bgp.yaml" 600
fi

# An instance that is made anew has the password of the one before: the cluster refuses another one under a known name.
file=/etc/rancher/node/password
if ! [ -e "$file" ]; then
    (umask 077 && mkdir -p "${file%/*}" && echo "$password" >"$file.new")
    mv "$file.new" "$file"
fi

installed() { k3s --version 2>/dev/null | grep -qF " $version "; }
if ! installed || ! [ -e "/etc/systemd/system/$unit.service" ]; then
    command -v curl >/dev/null || apt_install ca-certificates curl
    installer=$(mktemp)
    trap 'rm -f "$installer"' EXIT
    case $installer_url in http:*) schemes=http,https ;; *) schemes=https ;; esac # no redirect leads out of https
    curl -fsSL --proto "=$schemes" --retry 3 --retry-connrefused --max-time 60 -o "$installer" "$installer_url" ||
        fail "no installer from $installer_url (k3s.installerUrl)"
    case $installer_url in *'#sha256='*)
        echo "${installer_url##*#sha256=}  $installer" | sha256sum --check --status ||
            fail "the installer from ${installer_url%%#*} is not the one that k3s.installerUrl names: its SHA-256 is $(sha256sum <"$installer" | cut -d ' ' -f 1). Nothing of it ran. See what has changed in it, and write that there if it is good"
        ;;
    esac
    export INSTALL_K3S_VERSION="$version" INSTALL_K3S_EXEC="$role" INSTALL_K3S_SKIP_START=true
    [ -z "$artifact_url" ] || export INSTALL_K3S_ARTIFACT_URL="$artifact_url"
    change
    limited "$(left "$limit")" sh "$installer" </dev/null >&2 ||
        fail "k3s $version: the installer from $installer_url failed, or took longer than $limit s; its output is above"
    installed || fail "the installer from $installer_url ran, but k3s --version says: $(k3s --version 2>&1 | head -n 1); k3s.version is $version"
fi

db=/var/lib/rancher/k3s/server/db
if [ -n "$snapshot" ] && [ -z "$authority" ] && { ! [ -d "$db/etcd" ] || [ -e "$db/restoring" ]; }; then
    folder=$(echo "$wanted" | sed -n 's/^ "etcd-snapshot-dir": "\(.*\)",*$/\1/p')
    in_bucket() { echo "$wanted" | grep -q '^ "etcd-s3": true'; }
    path=$snapshot
    set --
    if [ -n "$folder" ] && [ -e "$folder/$snapshot" ]; then
        path=$folder/$snapshot
        ! in_bucket || set -- --etcd-s3=false # k3s would look for it there
    elif ! in_bucket; then
        fail "there is no snapshot $snapshot in k3s.snapshots.folder; there are: $(cd "$folder" && echo *). Nothing was started"
    fi
    mkdir -p "$db"
    : >"$db/restoring" # one that was cut off is begun anew
    rm -rf "$db/etcd" "$db/reset-flag"
    change
    limited "$(left "$limit")" k3s server --cluster-reset "--cluster-reset-restore-path=$path" "$@" </dev/null >&2 ||
        fail "k3s could not restore $snapshot (k3s.snapshots.restore); see the lines above. It opens with the tokens of the stack that it was taken of"
    rm "$db/restoring"
fi
systemctl enable --quiet "$unit"
active() { systemctl is-active "$unit"; }
# Without --no-block a unit that never becomes ready would block here for ever.
if changed; then systemctl restart --no-block "$unit"; else systemctl start --no-block "$unit"; fi
sleep 1
await "$(left "$limit")" "$unit on $(hostname) active" active || {
    journalctl -u "$unit" -n 30 --no-pager >&2
    fail "$unit did not become active; its last lines are above"
}
if [ "$role" = server ]; then
    ready() { k3s kubectl get --raw /readyz; }
    await "$(left "$limit")" "the Kubernetes API on $(hostname) ready" ready || {
        journalctl -u "$unit" -n 30 --no-pager >&2
        exit 1
    }
    # etcd takes one new member at a time: the next server comes when this one votes.
    votes() { curl -sSf --max-time 5 http://127.0.0.1:2381/metrics | grep -E '^etcd_server_(is_learner|has_leader) ' | sort | tr '\n' ' ' | grep -F 'has_leader 1 etcd_server_is_learner 0'; }
    await "$(left "$limit")" "etcd on $(hostname) a voting member" votes || {
        journalctl -u "$unit" -n 30 --no-pager >&2
        exit 1
    }
    group=$(id -gn "$user")
    cmp -s /etc/rancher/k3s/k3s.yaml "$home/.kube/config" || {
        install -d -m 700 -o "$user" -g "$group" "$home/.kube"
        install -m 400 -o "$user" -g "$group" /etc/rancher/k3s/k3s.yaml "$home/.kube/config"
    }
    # k3s's kubectl would take root's file, which nobody else can read, before the user's own.
    [ -e /etc/profile.d/cilium-bgp.sh ] || {
        mkdir -p /etc/profile.d
        cat >/etc/profile.d/cilium-bgp.sh.new <<'PROFILE'
[ -n "$KUBECONFIG" ] || [ ! -r "$HOME/.kube/config" ] || export KUBECONFIG="$HOME/.kube/config"
PROFILE
        mv /etc/profile.d/cilium-bgp.sh.new /etc/profile.d/cilium-bgp.sh
    }
fi
applied
k3s --version | head -n 1
