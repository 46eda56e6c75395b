#!/bin/sh
# STAND-IN of k3s's installer, of the cilium-bgp lab. It honours the official one's variables and lays out units, links,
# environment file and uninstallers as that one does; what it installs is the stand-in k3s.py and real Kubernetes
# programs. Images come with the programs, since no registry of images is reached.
#
# INSTALL_K3S_ARTIFACT_URL  where to find VERSION/sha256sum-amd64.txt and the files that it names; by default
#                           k3s's releases on GitHub, for which the lab's own internet answers
# INSTALL_K3S_VERSION       required unless nothing is downloaded: there are no channels here
# INSTALL_K3S_EXEC          server or agent and flags for the unit; K3S_URL makes agent the default
# INSTALL_K3S_NAME, _TYPE, _BIN_DIR, _SYSTEMD_DIR, _SYMLINK, _SKIP_ENABLE, _SKIP_START, _FORCE_RESTART: as there
# K3S_*                     kept for the unit, in a file that only root can read
set -eu
umask 022

info() { echo "[INFO]  (k3s stand-in of the lab) $*"; }
fatal() {
    echo "[ERROR]  (k3s stand-in of the lab) $*" >&2
    exit 1
}
# The archive counts by its time and size: it is big, and written only when its sum is another one.
hashes() {
    sha256sum "$BIN_DIR/k3s" "$UNIT_FILE" "$ENV_FILE" /etc/rancher/k3s/config.yaml 2>/dev/null || true
    stat -c '%Y %s' "$DATA/agent/images/"*.tar 2>/dev/null || true
}

[ "$(id -u)" = 0 ] || fatal "must run as root"
# shellcheck disable=SC2086 # the variable holds several words, as in the official installer
set -- ${INSTALL_K3S_EXEC:-} "$@"
case ${1:-} in
server | agent) ROLE=$1 && shift ;;
'' | -*)
    ROLE=server
    if [ -n "${K3S_URL:-}" ]; then
        [ -n "${K3S_TOKEN:-}${K3S_TOKEN_FILE:-}" ] || fatal "K3S_URL is set, but neither K3S_TOKEN nor K3S_TOKEN_FILE"
        ROLE=agent
    fi
    ;;
*) fatal "INSTALL_K3S_EXEC starts with $1; this stand-in knows server and agent" ;;
esac

NAME=k3s
[ "$ROLE" = server ] || NAME=k3s-$ROLE
[ -z "${INSTALL_K3S_NAME:-}" ] || NAME=k3s-$INSTALL_K3S_NAME
BIN_DIR=${INSTALL_K3S_BIN_DIR:-/usr/local/bin}
SYSTEMD_DIR=${INSTALL_K3S_SYSTEMD_DIR:-/etc/systemd/system}
UNIT_FILE=$SYSTEMD_DIR/$NAME.service
ENV_FILE=$UNIT_FILE.env
DATA=/var/lib/rancher/k3s
BEFORE=$(hashes)

download() {
    [ -n "${INSTALL_K3S_VERSION:-}" ] || fatal "INSTALL_K3S_VERSION is not set; this stand-in has no channels"
    release=${INSTALL_K3S_ARTIFACT_URL:-https://github.com/k3s-io/k3s/releases/download}/$(echo "$INSTALL_K3S_VERSION" | sed 's/+/%2B/g')
    case $ROLE in
    server) files='k3s kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler coredns.yaml traefik.yaml' ;;
    agent) files='k3s kubelet kubectl' ;;
    esac
    temporary=$(mktemp -d /var/tmp/k3s-install.XXXXXX)
    trap 'rm -rf "$temporary"' EXIT
    info "Using $INSTALL_K3S_VERSION as release, from $release"
    curl -sfL --max-time 60 -o "$temporary/sums" "$release/sha256sum-amd64.txt" ||
        fatal "$release/sha256sum-amd64.txt cannot be read: this lab has no such release, or its server is down"
    for file in $files k3s-airgap-images-amd64.tar; do
        case $file in
        k3s) target=$BIN_DIR/k3s mode=755 ;;
        *.yaml) target=$DATA/server/manifests/$file mode=600 ;;
        *.tar) target=$DATA/agent/images/$file mode=600 ;;
        *) target=$DATA/data/current/bin/$file mode=755 ;;
        esac
        sum=$(awk -v file="$file" '$2 == file { print $1 }' "$temporary/sums")
        [ -n "$sum" ] || fatal "$release has no $file"
        if echo "$sum  $target" | sha256sum --check --status 2>/dev/null; then continue; fi
        info "Downloading $file"
        mkdir -p "$(dirname "$target")"
        curl -sfL --max-time 300 -o "$target.part" "$release/$file" || fatal "$release/$file cannot be read"
        echo "$sum  $target.part" | sha256sum --check --status || fatal "$release/$file is not what its sum says"
        chmod "$mode" "$target.part"
        mv "$target.part" "$target"
    done
}

if [ "${INSTALL_K3S_SKIP_DOWNLOAD:-false}" = true ]; then
    [ -x "$BIN_DIR/k3s" ] || fatal "INSTALL_K3S_SKIP_DOWNLOAD=true, but there is no $BIN_DIR/k3s"
else
    download
fi

if [ "${INSTALL_K3S_SYMLINK:-}" != skip ]; then
    for command in kubectl ctr; do
        [ -e "$BIN_DIR/$command" ] || ln -s k3s "$BIN_DIR/$command"
    done
fi

cat >"$BIN_DIR/k3s-killall.sh" <<'KILLALL'
#!/bin/sh
# Stop k3s and everything that it started, and take down what was mounted and linked for pods.
[ "$(id -u)" = 0 ] || exec sudo "$0" "$@"
for unit in /etc/systemd/system/k3s*.service; do
    [ -e "$unit" ] && systemctl stop "$(basename "$unit")"
done
pids=$(ps -e -o pid= -o args= | awk '$2 ~ /containerd-shim/ && /k3s\/containerd/ { print $1 }')
for pid in $pids; do
    children=$(ps -o pid= --ppid "$pid")
    # shellcheck disable=SC2086 # a list of numbers
    kill -9 "$pid" $children 2>/dev/null
done
for folder in /run/k3s /var/lib/rancher/k3s/agent/containerd /var/lib/kubelet/pods /run/netns/cni-; do
    awk -v folder="$folder" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r -n 1 umount -l
done
rm -rf /run/k3s
KILLALL

UNINSTALL=$BIN_DIR/$NAME-uninstall.sh
cat >"$UNINSTALL" <<EOF
#!/bin/sh
# Remove what the stand-in installer and its unit $NAME left.
[ "\$(id -u)" = 0 ] || exec sudo "\$0" "\$@"
$BIN_DIR/k3s-killall.sh
systemctl disable $NAME
rm -f $UNIT_FILE $ENV_FILE
systemctl daemon-reload
for command in kubectl ctr; do
    [ ! -L $BIN_DIR/\$command ] || rm -f $BIN_DIR/\$command
done
rm -rf /etc/rancher/k3s /var/lib/rancher/k3s /var/lib/kubelet
rm -f $BIN_DIR/k3s $BIN_DIR/k3s-killall.sh $UNINSTALL
EOF
chmod 755 "$BIN_DIR/k3s-killall.sh" "$UNINSTALL"

info "env: Creating environment file $ENV_FILE"
(umask 077 && env | grep '^K3S_' >"$ENV_FILE") || true

ARGUMENTS=
for argument; do
    ARGUMENTS="$ARGUMENTS '$(printf %s "$argument" | sed "s/'/'\"'\"'/g")'"
done
info "systemd: Creating service file $UNIT_FILE"
cat >"$UNIT_FILE" <<EOF
[Unit]
Description=Lightweight Kubernetes (stand-in of the cilium-bgp lab)
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=${INSTALL_K3S_TYPE:-notify}
EnvironmentFile=-$ENV_FILE
Environment=PYTHONUNBUFFERED=1
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=$BIN_DIR/k3s $ROLE$ARGUMENTS
EOF
systemctl daemon-reload

if [ "${INSTALL_K3S_SKIP_ENABLE:-false}" != true ]; then
    info "systemd: Enabling $NAME unit"
    systemctl enable --quiet "$NAME"
fi
if [ "${INSTALL_K3S_SKIP_START:-false}" = true ] || [ "${INSTALL_K3S_SKIP_ENABLE:-false}" = true ]; then exit 0; fi
if [ "$BEFORE" = "$(hashes)" ] && [ "${INSTALL_K3S_FORCE_RESTART:-false}" != true ] &&
    systemctl is-active --quiet "$NAME"; then
    info "No change detected so skipping service start"
    exit 0
fi
info "systemd: Starting $NAME"
systemctl restart "$NAME"
