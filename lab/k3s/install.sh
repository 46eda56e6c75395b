#!/bin/sh
# STAND-IN of k3s's installer, of the cilium-bgp lab. It lays out programs, links and unit as the official one does; what
# it installs is the stand-in k3s.py and real Kubernetes programs. Images come with the programs, since no registry of
# images is reached.
#
# INSTALL_K3S_ARTIFACT_URL  where to find VERSION/sha256sum-amd64.txt and the files that it names; by default
#                           k3s's releases on GitHub, for which the lab's own internet answers
# INSTALL_K3S_VERSION       required: there are no channels here
# INSTALL_K3S_EXEC          server or agent
# INSTALL_K3S_SKIP_START    true: whoever asks starts the unit
set -eu
umask 022

info() { echo "[INFO]  (k3s stand-in of the lab) $*"; }
fatal() {
    echo "[ERROR]  (k3s stand-in of the lab) $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fatal "must run as root"
[ -n "${INSTALL_K3S_VERSION:-}" ] || fatal "INSTALL_K3S_VERSION is not set; this stand-in has no channels"
unknown=$(env | grep -oE '^(INSTALL_)?K3S_[A-Z_]+' | grep -vxE 'INSTALL_K3S_(ARTIFACT_URL|VERSION|EXEC|SKIP_START)') || :
[ -z "$unknown" ] || fatal "this stand-in does not know $(echo "$unknown" | tr "\n" " ")"
[ $# = 0 ] || fatal "this stand-in takes no flags for the unit: $*"
case ${INSTALL_K3S_EXEC:-} in
server) NAME=k3s files='kube-apiserver kube-controller-manager kube-scheduler coredns.yaml traefik.yaml' ;;
agent) NAME=k3s-agent files='' ;;
*) fatal "INSTALL_K3S_EXEC is '${INSTALL_K3S_EXEC:-}'; this stand-in knows server and agent" ;;
esac
DATA=/var/lib/rancher/k3s

release=${INSTALL_K3S_ARTIFACT_URL:-https://github.com/k3s-io/k3s/releases/download}/$(echo "$INSTALL_K3S_VERSION" | sed 's/+/%2B/g')
sums=$(mktemp)
trap 'rm -f "$sums"' EXIT
info "Using $INSTALL_K3S_VERSION as release, from $release"
curl -sfL --max-time 60 -o "$sums" "$release/sha256sum-amd64.txt" ||
    fatal "$release/sha256sum-amd64.txt cannot be read: this lab has no such release, or its server is down"
for file in k3s kubelet kubectl $files k3s-airgap-images-amd64.tar; do
    case $file in
    k3s) target=/usr/local/bin/k3s mode=755 ;;
    *.yaml) target=$DATA/server/manifests/$file mode=600 ;;
    *.tar) target=$DATA/agent/images/$file mode=600 ;;
    *) target=$DATA/data/current/bin/$file mode=755 ;;
    esac
    sum=$(awk -v file="$file" '$2 == file { print $1 }' "$sums")
    [ -n "$sum" ] || fatal "$release has no $file"
    if echo "$sum  $target" | sha256sum --check --status 2>/dev/null; then continue; fi
    info "Downloading $file"
    mkdir -p "$(dirname "$target")"
    curl -sfL --max-time 300 -o "$target.part" "$release/$file" || fatal "$release/$file cannot be read"
    echo "$sum  $target.part" | sha256sum --check --status || fatal "$release/$file is not what its sum says"
    chmod "$mode" "$target.part"
    mv "$target.part" "$target"
done
for command in kubectl ctr; do
    [ -e "/usr/local/bin/$command" ] || ln -s k3s "/usr/local/bin/$command"
done

info "systemd: Creating service file /etc/systemd/system/$NAME.service"
cat >/usr/local/bin/k3s-killall.sh <<'KILLALL'
#!/bin/sh
# Stop k3s and everything that it started, and take down what was mounted for pods.
for unit in /etc/systemd/system/k3s*.service; do
    [ ! -e "$unit" ] || systemctl stop "$(basename "$unit")"
done
pids=$(ps -e -o pid= -o args= | awk '$2 ~ /containerd-shim/ && /k3s\/containerd/ { print $1 }')
for pid in $pids; do
    # shellcheck disable=SC2046 # a list of numbers
    kill -9 "$pid" $(ps -o pid= --ppid "$pid") 2>/dev/null
done
for folder in /run/k3s /var/lib/rancher/k3s/agent/containerd /var/lib/kubelet/pods /run/netns/cni-; do
    awk -v folder="$folder" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r -n 1 umount -l
done
rm -rf /run/k3s
KILLALL
chmod 755 /usr/local/bin/k3s-killall.sh
cat >"/etc/systemd/system/$NAME.service" <<EOF
[Unit]
Description=Lightweight Kubernetes (stand-in of the cilium-bgp lab)
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
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
ExecStart=/usr/local/bin/k3s $INSTALL_K3S_EXEC
EOF
systemctl daemon-reload
info "systemd: Enabling $NAME unit"
systemctl enable --quiet "$NAME"
if [ "${INSTALL_K3S_SKIP_START:-false}" != true ]; then
    info "systemd: Starting $NAME"
    systemctl restart "$NAME"
fi
