# Run ngrok for an address of the pool and print its public URL.
# usage: ngrok.sh ADDRESS <AUTHTOKEN
address=$1
agent=/usr/local/lib/cilium-bgp/ngrok
config=/etc/ngrok/cilium-bgp.yml
api=127.0.0.1:14040 # its own default, 4040, may be another ngrok's

[ -d /run/systemd/system ] || fail "exposure.mode ngrok runs the agent as a systemd unit; this host has no systemd"
# Quoted: a token may look like a number.
printf "version: '2'\nauthtoken: '%s'\nweb_addr: %s\ntunnels:\n  service:\n    proto: http\n    addr: %s:80\n" \
    "$(sed "s/'/''/g")" "$api" "$address" | put "$config" 600
put /etc/systemd/system/cilium-bgp-ngrok.service 644 <<UNIT
[Unit]
Description=ngrok for a Service of the cluster (written by cilium-bgp)
After=network-online.target
Wants=network-online.target

[Service]
DynamicUser=yes
LoadCredential=config:$config
ExecStart=$agent start --config \${CREDENTIALS_DIRECTORY}/config --log stdout service
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
# The agent for this architecture, as its publisher's package repository has signed it. Nothing of that is left with apt.
if ! [ -x "$agent" ]; then
    source=https://ngrok-agent.s3.amazonaws.com
    command -v curl >/dev/null || apt_install ca-certificates curl
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    curl -fsSL --proto '=https' --retry 3 --max-time 60 -o "$folder/ngrok.asc" "$source/ngrok.asc" ||
        fail "no key of ngrok's package repository ($source/ngrok.asc)"
    echo "deb [signed-by=$folder/ngrok.asc] $source bookworm main" >"$folder/sources.list"
    apt() {
        (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$folder/sources.list" \
            -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" "$@" >&2)
    }
    if ! { apt update && apt download ngrok; }; then fail "no ngrok agent from its package repository ($source); apt's lines are above"; fi
    dpkg-deb -x "$folder"/ngrok_*.deb "$folder/package"
    mkdir -p "${agent%/*}"
    install -m 755 "$folder/package/usr/local/bin/ngrok" "$agent.new"
    mv "$agent.new" "$agent"
fi
systemctl enable --quiet cilium-bgp-ngrok
if changed; then
    systemctl daemon-reload
    systemctl restart cilium-bgp-ngrok
else # a restart could give it another URL
    systemctl start cilium-bgp-ngrok
fi

url() {
    curl -sSf --noproxy '*' --max-time 5 "http://$api/api/tunnels/service" | grep -o '"public_url":"https://[^"]*' | cut -d '"' -f 4 | grep .
}
await 60 "a public URL from ngrok's local API ($api)" url || {
    # ngrok quotes a token that it does not like.
    journalctl -u cilium-bgp-ngrok -n 20 --no-pager | awk -v config="$config" '
        BEGIN { while ((getline line <config) > 0) if (sub(/^authtoken: ./, "", line)) token = substr(line, 1, length(line) - 1) }
        { while (token && (at = index($0, token))) $0 = substr($0, 1, at - 1) "…" substr($0, at + length(token)); print }' >&2
    exit 1
}
applied
echo "$await_seen" | head -n 1
