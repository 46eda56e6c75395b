# Install or upgrade k3s by its official installer and wait until it runs.
# usage: k3s_install.sh server|agent VERSION INSTALLER_URL ARTIFACT_URL SECONDS <config.yaml   (may hold the join token)
role=$1 version=$2 installer_url=$3 artifact_url=$4 limit=$5
config=/etc/rancher/k3s/config.yaml
case $role in
server) unit=k3s other=k3s-agent ;;
agent) unit=k3s-agent other=k3s ;;
*) fail "role $role is neither server nor agent" ;;
esac

[ ! -e "/etc/systemd/system/$other.service" ] ||
    fail "$(hostname) already runs $other and cannot become $role in place; remove the node from the configuration, run once, then add it again"

wanted=$(cat)
case $wanted in *'"server": '*)
    # The one that started the cluster names no server.
    [ "$role" = agent ] || ! [ -e "$config" ] || grep -q '"server": ' "$config" ||
        fail "$(hostname) started the cluster and cannot join another; the first server by name is the one that starts it, so name new servers after $(hostname)"
    ;;
esac
printf '%s\n' "$wanted" | put "$config" 600

# An instance that is made anew has the password of the one before: the cluster refuses another one under a known name.
password=/etc/rancher/node/password
token=$(sed -n 's/^ *"token": "\(.*\)".*/\1/p' "$config")
if [ -n "$token" ] && ! [ -e "$password" ]; then
    (umask 077 && mkdir -p "${password%/*}")
    printf '%s %s' "$(hostname)" "$token" | sha256sum | cut -c 1-32 | (umask 077 && cat >"$password.new")
    mv "$password.new" "$password"
fi

installed() { k3s --version 2>/dev/null | grep -qF " $version "; }
if ! installed || ! [ -e "/etc/systemd/system/$unit.service" ]; then
    command -v curl >/dev/null || apt_install ca-certificates curl
    installer=$(mktemp)
    trap 'rm -f "$installer"' EXIT
    curl -fsSL --retry 3 --retry-connrefused --max-time 60 -o "$installer" "$installer_url" ||
        fail "no installer from $installer_url (k3s.installerUrl)"
    export INSTALL_K3S_VERSION="$version" INSTALL_K3S_EXEC="$role" INSTALL_K3S_SKIP_START=true
    [ -z "$artifact_url" ] || export INSTALL_K3S_ARTIFACT_URL="$artifact_url"
    change
    limited "$(left "$limit")" sh "$installer" </dev/null >&2 ||
        fail "k3s $version: the installer from $installer_url failed, or took longer than $limit s; its output is above"
    installed || fail "the installer from $installer_url ran, but k3s --version says: $(k3s --version 2>&1 | head -n 1); k3s.version is $version"
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
fi
applied
k3s --version | head -n 1
