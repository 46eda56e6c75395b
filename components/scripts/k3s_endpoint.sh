# One address of the Kubernetes API over all servers, by HAProxy: at LISTEN for users, at GATEWAY for nodes.
# usage: k3s_endpoint.sh NAME LISTEN GATEWAY PORT SERVER=ADDRESS…     (NAME: of the unit and its files)
name=$1 listen=$2 gateway=$3 port=$4
shift 4
config=/etc/haproxy/$name.cfg

[ -d /run/systemd/system ] || fail "the Kubernetes API is kept by a systemd unit; this host has no systemd"
if ! command -v haproxy >/dev/null; then
    apt_install haproxy
    systemctl disable --quiet --now haproxy # the package's own, with nothing to do
fi
command -v python3 >/dev/null || apt_install python3-minimal

# Who asks a server from this host looks here.
echo "$*" | put "/var/lib/cilium-bgp/$name.servers" 644

{
    cat <<CONFIG
# Written by cilium-bgp.
global
    log stdout format raw daemon notice
    user haproxy
    group haproxy
    maxconn 4096

defaults
    mode tcp
    log global
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    option clitcpka
    option srvtcpka

listen kubernetes-api
CONFIG
    # transparent: also before LXD has made the bridge.
    echo "    bind $listen:$port"
    case $listen in 0.0.0.0 | "$gateway") ;; *) echo "    bind $gateway:$port transparent" ;; esac
    cat <<CONFIG
    balance roundrobin
    option redispatch
    # A server whose API is up refuses who does not say who he is.
    option httpchk GET /readyz
    http-check expect status 200,401,403
    default-server check check-ssl verify none inter 1s fastinter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
CONFIG
    for server; do echo "    server ${server%%=*} ${server#*=}:6443"; done
} | put "$config" 644
put "/etc/systemd/system/$name.service" 644 <<UNIT
[Unit]
Description=The Kubernetes API over all servers (written by cilium-bgp)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStartPre=/usr/sbin/haproxy -c -q -f $config
ExecStart=/usr/sbin/haproxy -Ws -f $config
ExecReload=/usr/sbin/haproxy -c -q -f $config
ExecReload=/bin/kill -USR2 \$MAINPID
KillMode=mixed
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
UNIT
said=$(haproxy -c -f "$config" 2>&1) || fail "HAProxy does not take $config: $said"

systemctl enable --quiet "$name"
if changed; then
    systemctl daemon-reload
    systemctl reload-or-restart "$name" || {
        journalctl -u "$name" -n 20 --no-pager >&2
        fail "$name did not start; does something else listen on $listen:$port (k3s.apiPort)? Its last lines are above"
    }
else
    systemctl start "$name"
fi
active() { systemctl is-active "$name"; }
await 30 "$name active" active || {
    journalctl -u "$name" -n 20 --no-pager >&2
    exit 1
}
applied
echo "$gateway:$port"
