# Run ngrok for an address of the pool and print its public URL.
# usage: ngrok.sh ADDRESS ARCHIVE_URL <AUTHTOKEN
address=$1 archive=$2
config=/etc/ngrok/cilium-bgp.yml
unit=/etc/systemd/system/cilium-bgp-ngrok.service

[ -d /run/systemd/system ] || fail "exposure.mode ngrok runs the agent as a systemd unit; this host has no systemd"
if ! [ -x /usr/local/bin/ngrok ]; then
    command -v curl >/dev/null || apt_install ca-certificates curl
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    curl -fsSL --retry 5 --max-time 120 -o "$folder/ngrok.tgz" "$archive" || fail "no ngrok agent from $archive"
    tar -xzf "$folder/ngrok.tgz" -C "$folder" ngrok
    install -m 755 "$folder/ngrok" /usr/local/bin/ngrok
fi
umask 077
mkdir -p "${config%/*}"
{
    printf 'version: "2"\nweb_addr: 127.0.0.1:4040\ntunnels:\n  service:\n    proto: http\n    addr: %s:80\n' "$address"
    printf 'authtoken: '
    cat
    echo
} >"$config"
cat >"$unit" <<UNIT
[Unit]
Description=ngrok for a Service of the cluster (written by cilium-bgp)
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/local/bin/ngrok start --config $config --log stdout service
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
chmod 644 "$unit"
systemctl daemon-reload
systemctl enable --quiet cilium-bgp-ngrok
systemctl restart cilium-bgp-ngrok

url() { curl -sf --max-time 5 http://127.0.0.1:4040/api/tunnels | grep -o 'https://[^"]*' | head -n 1 | grep .; }
await 60 "a public URL from ngrok's local API (127.0.0.1:4040)" url || {
    journalctl -u cilium-bgp-ngrok -n 20 --no-pager >&2
    exit 1
}
echo "$await_seen"
