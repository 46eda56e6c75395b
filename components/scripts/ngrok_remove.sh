# Stop ngrok and forget its token.
[ ! -e /etc/systemd/system/cilium-bgp-ngrok.service ] || systemctl disable --quiet --now cilium-bgp-ngrok
rm -f /etc/systemd/system/cilium-bgp-ngrok.service /etc/ngrok/cilium-bgp.yml /usr/local/bin/ngrok
rmdir /etc/ngrok 2>/dev/null || true
[ ! -d /run/systemd/system ] || systemctl daemon-reload
