# Run ngrok for an address of the pool and print its public URL.
# usage: ngrok.sh ADDRESS ARCHIVE_URL <AUTHTOKEN
address=$1 archive=$2
agent=/usr/local/lib/cilium-bgp/ngrok
config=/etc/ngrok/cilium-bgp.yml

[ -d /run/systemd/system ] || fail "exposure.mode ngrok runs the agent as a systemd unit; this host has no systemd"
# Quoted: a token may look like a number.
printf "version: '2'\nauthtoken: '%s'\nweb_addr: 127.0.0.1:4040\ntunnels:\n  service:\n    proto: http\n    addr: %s:80\n" \
    "$(sed "s/'/''/g")" "$address" | put "$config" 600
put /etc/systemd/system/cilium-bgp-ngrok.service 644 <<UNIT
[Unit]
Description=ngrok for a Service of the cluster (written by cilium-bgp)
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=$agent start --config $config --log stdout service
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
if ! [ -x "$agent" ]; then
    command -v curl >/dev/null || apt_install ca-certificates curl
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    curl -fsSL --retry 3 --max-time 60 -o "$folder/ngrok.tgz" "$archive" || fail "no ngrok agent from $archive"
    tar -xzf "$folder/ngrok.tgz" -C "$folder" ngrok
    mkdir -p "${agent%/*}"
    install -m 755 "$folder/ngrok" "$agent.new"
    mv "$agent.new" "$agent"
fi
systemctl enable --quiet cilium-bgp-ngrok
if changed; then
    systemctl daemon-reload
    systemctl restart cilium-bgp-ngrok
else # a restart could give it another URL
    systemctl start cilium-bgp-ngrok
fi

url() { curl -sSf --noproxy '*' --max-time 5 http://127.0.0.1:4040/api/tunnels | grep -o '"public_url":"https://[^"]*' | cut -d '"' -f 4 | grep .; }
await 60 "a public URL from ngrok's local API (127.0.0.1:4040)" url || {
    # ngrok quotes a token that it does not like.
    journalctl -u cilium-bgp-ngrok -n 20 --no-pager | awk -v config="$config" '
        BEGIN { while ((getline line <config) > 0) if (sub(/^authtoken: ./, "", line)) token = substr(line, 1, length(line) - 1) }
        { while (token && (at = index($0, token))) $0 = substr($0, 1, at - 1) "…" substr($0, at + length(token)); print }' >&2
    exit 1
}
applied
echo "$await_seen" | head -n 1
