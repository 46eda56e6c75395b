# Install FRR, give it the configuration on standard input, print the address that bgpd listens on.
# usage: frr.sh ADDRESS BRIDGE <frr.conf
address=$1 bridge=$2
kept=/var/lib/cilium-bgp/frr

new=$(mktemp)
trap 'rm -f "$new" "$new.pods"' EXIT
cat >"$new"

ip -4 -o address show dev "$bridge" | grep -qF " $address/" ||
    fail "$bridge has no address $address: $(ip -4 -o address show dev "$bridge" 2>&1); bgpd would listen nowhere"

# What was here before, so that destroy can bring it back.
if ! [ -e "$kept/was" ]; then
    if ! [ -e /etc/frr/frr.conf ]; then
        was=absent
    elif service_ frr status >/dev/null 2>&1; then
        was=running
    else
        was=stopped
    fi
    mkdir -p "$kept"
    cat /proc/sys/net/ipv4/ip_nonlocal_bind >"$kept/nonlocal_bind"
    echo "$was" >"$kept/was"
fi
{ [ -e /usr/lib/frr/frr-reload.py ] && [ -e /etc/frr/daemons ]; } || apt_install frr frr-pythontools
# FRR before 8.3 never has notifications in a graceful restart, and refuses the line that says so.
grep -qs 'bgp graceful-restart notification' /usr/lib/frr/bgpd || sed -i '/ graceful-restart notification$/d' "$new"
for file in frr.conf daemons; do
    [ -e "$kept/$file" ] || { cp -p "/etc/frr/$file" "$kept/$file.new" && mv "$kept/$file.new" "$kept/$file"; }
done

# The ranges of the pods are frr_pods.sh's; those of nodes that stay, stay.
awk 'NR == FNR { if ($5 == 10) known[$3] = 1; next } /^ip prefix-list NODE-/ && $5 >= 20 && known[$3]' \
    "$new" /etc/frr/frr.conf >"$new.pods"
cat "$new.pods" >>"$new"

how=start
! changed || how=restart
# Listen on the bridge alone, and also when FRR starts before LXD has made the bridge.
echo 'net.ipv4.ip_nonlocal_bind = 1' | put /etc/sysctl.d/60-cilium-bgp-router.conf 644
sysctl -q -p /etc/sysctl.d/60-cilium-bgp-router.conf

daemons=$(sed -e 's/^bgpd=.*/bgpd=yes/' -e "s/^bgpd_options=.*/bgpd_options=\"   -A 127.0.0.1 -l $address\"/" "$kept/daemons")
# A reload would show a password as an argument and in its log, and these changes end the sessions anyway.
sessions() { grep -E '^router | password |NODES remote-as ' "$1" || true; }
if [ "$daemons" != "$(cat /etc/frr/daemons)" ] || [ "$(sessions "$new")" != "$(sessions /etc/frr/frr.conf)" ]; then
    how=restart
elif [ $how = start ] && ! cmp -s "$new" /etc/frr/frr.conf; then
    how=reload
fi
printf '%s\n' "$daemons" | put /etc/frr/daemons 640
put /etc/frr/frr.conf 640 <"$new"
chown frr:frr /etc/frr/daemons /etc/frr/frr.conf
[ ! -d /run/systemd/system ] || systemctl enable --quiet frr
if [ $how = reload ] && ! service_ frr status >/dev/null 2>&1; then how=start; fi
if ! said=$(service_ frr "$how" </dev/null 2>&1); then
    journal frr
    fail "frr did not $how: $(echo "$said" | without_passwords)"
fi

listening() { ss -Hltn "sport = :179" | grep -F " $address:179 " || { ss -Hltn "sport = :179"; false; }; }
await 60 "bgpd listening on $address:179" listening || {
    journal frr
    exit 1
}
applied
echo "$address"
