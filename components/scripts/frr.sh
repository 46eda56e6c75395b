# Install FRR, give it the configuration on standard input, print the address that bgpd listens on.
# usage: frr.sh ADDRESS BRIDGE <frr.conf
address=$1 bridge=$2
kept=/var/lib/cilium-bgp/frr

umask 077
new=$(mktemp)
trap 'rm -f "$new"' EXIT
cat >"$new"

ip -4 -o address show dev "$bridge" | grep -qF " $address/" ||
    fail "$bridge has no address $address: $(ip -4 -o address show dev "$bridge" 2>&1); bgpd would listen nowhere"

# What was here before, so that destroy can bring it back.
mkdir -p "$kept"
if ! [ -e "$kept/was" ]; then
    if ! [ -e /etc/frr/frr.conf ]; then
        was=absent
    elif grep -q '^router bgp' /etc/frr/frr.conf; then
        fail "/etc/frr/frr.conf on this host already runs BGP; cilium-bgp would replace it. Move that router elsewhere or remove its 'router bgp'."
    elif service_ frr status >/dev/null 2>&1; then
        was=running
    else
        was=stopped
    fi
    echo "$was" >"$kept/was"
fi
[ -e /usr/lib/frr/frr-reload.py ] || apt_install frr frr-pythontools
for file in frr.conf daemons; do
    [ -e "$kept/$file" ] || cp -p "/etc/frr/$file" "$kept/$file"
done

# Listen on the bridge alone, and also when FRR starts before LXD has made the bridge.
echo 'net.ipv4.ip_nonlocal_bind = 1' >/etc/sysctl.d/60-cilium-bgp-router.conf
chmod 644 /etc/sysctl.d/60-cilium-bgp-router.conf
sysctl -q -p /etc/sysctl.d/60-cilium-bgp-router.conf

daemons=$(sed -e 's/^bgpd=.*/bgpd=yes/' -e "s/^bgpd_options=.*/bgpd_options=\"   -A 127.0.0.1 -l $address\"/" "$kept/daemons")
passwords() { grep ' password ' "$1" || true; }
if [ "$daemons" != "$(cat /etc/frr/daemons)" ]; then
    how=restart
elif [ "$(passwords "$new")" != "$(passwords /etc/frr/frr.conf)" ]; then
    how=restart # a reload would show the password as an argument, and the sessions end anyway
elif ! cmp -s "$new" /etc/frr/frr.conf; then
    how=reload
else
    how=start
fi
if [ "$how" != start ]; then
    printf '%s\n' "$daemons" >/etc/frr/daemons
    cat "$new" >/etc/frr/frr.conf
    chown frr:frr /etc/frr/daemons /etc/frr/frr.conf
    chmod 640 /etc/frr/daemons /etc/frr/frr.conf
fi
[ ! -d /run/systemd/system ] || systemctl enable --quiet frr
if [ "$how" != restart ] && ! service_ frr status >/dev/null 2>&1; then how=start; fi
if ! said=$(service_ frr "$how" </dev/null 2>&1); then
    journalctl -u frr -n 30 --no-pager >&2 2>/dev/null || true
    fail "frr did not $how: $(echo "$said" | grep -v password)"
fi

listening() { ss -Hltn "sport = :179" | grep -F "$address:179" || { ss -Hltn "sport = :179"; false; }; }
await 60 "bgpd listening on $address:179" listening || {
    journalctl -u frr -n 30 --no-pager >&2 2>/dev/null || true
    exit 1
}
echo "$address"
