# Stop ngrok and forget its token.
unit=/etc/systemd/system/cilium-bgp-ngrok.service
[ ! -e "$unit" ] || systemctl disable --quiet --now cilium-bgp-ngrok
rm -f /usr/local/lib/cilium-bgp/ngrok /usr/local/lib/cilium-bgp/ngrok.new /etc/ngrok/cilium-bgp.yml /etc/ngrok/cilium-bgp.yml.new /var/lib/cilium-bgp/ngrok.sh.changed "$unit" "$unit.new"
rmdir /etc/ngrok /usr/local/lib/cilium-bgp /var/lib/cilium-bgp 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl daemon-reload
