# Bring back the FRR configuration that was here before.
kept=/var/lib/cilium-bgp/frr

[ -e "$kept/was" ] || exit 0
was=$(cat "$kept/was")
for file in frr.conf daemons; do
    [ ! -e "$kept/$file" ] || cp -p "$kept/$file" "/etc/frr/$file"
done
case $was in
running) service_ frr restart >/dev/null 2>&1 </dev/null || fail "the former FRR configuration is back in /etc/frr but frr did not start with it" ;;
*)
    service_ frr stop >/dev/null 2>&1 </dev/null || true
    [ ! -d /run/systemd/system ] || [ "$was" != absent ] || systemctl disable --quiet frr
    ;;
esac
rm -f /etc/sysctl.d/60-cilium-bgp-router.conf
[ ! -e "$kept/nonlocal_bind" ] || sysctl -q -w "net.ipv4.ip_nonlocal_bind=$(cat "$kept/nonlocal_bind")"
rm -rf "$kept" /var/lib/cilium-bgp/frr.sh.changed
rmdir /var/lib/cilium-bgp 2>/dev/null || true
