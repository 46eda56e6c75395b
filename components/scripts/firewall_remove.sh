# Take the firewall's rules for the nodes' bridge away.
program=/usr/local/lib/cilium-bgp/firewall
unit=/etc/systemd/system/cilium-bgp-firewall.service

if [ -d /run/systemd/system ] && [ -e "$unit" ]; then systemctl disable --quiet --now cilium-bgp-firewall; fi
[ ! -x "$program" ] || "$program" stop
rm -f "$program" "$program.new" "$unit" "$unit.new" /etc/cilium-bgp/firewall.nft /etc/cilium-bgp/firewall.nft.new /var/lib/cilium-bgp/firewall.sh.changed
rmdir /etc/cilium-bgp "${program%/*}" /var/lib/cilium-bgp 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl daemon-reload
