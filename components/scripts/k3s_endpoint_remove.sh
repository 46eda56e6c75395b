# Take the address of the Kubernetes API away; HAProxy stays installed.
# usage: k3s_endpoint_remove.sh NAME
name=$1
unit=/etc/systemd/system/$name.service
[ ! -e "$unit" ] || systemctl disable --quiet --now "$name"
rm -f "$unit" "$unit.new" "/etc/haproxy/$name.cfg" "/etc/haproxy/$name.cfg.new" "/var/lib/cilium-bgp/$name.servers" \
    "/var/lib/cilium-bgp/$name.servers.new" /var/lib/cilium-bgp/k3s_endpoint.sh.changed
rmdir /var/lib/cilium-bgp 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl daemon-reload
