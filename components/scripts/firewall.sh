# The host's firewall for the nodes' bridge, now and at every boot.
# usage: firewall.sh BRIDGE GATEWAY API_PORT POOL OPEN NODE…
# OPEN: networks beyond the host that may ask the addresses of POOL, with commas between; both may be empty.
bridge=$1 gateway=$2 api_port=$3 pool=$4 open=$5
shift 5
nodes=$(echo "$*" | sed 's/ /, /g')
opened=''
[ -z "$open" ] || opened="oifname \"$bridge\" ip saddr { $open } ip daddr $pool accept"
rules=/etc/cilium-bgp/firewall.nft
program=/usr/local/lib/cilium-bgp/firewall

# A drop is final, whatever other tables accept. A node's own packets leave with TTL 255 (node_prepare.sh); one that it
# has forwarded for a pod has less, whatever the pod sends (RFC 5082).
put "$rules" 644 <<RULES
# Written by cilium-bgp.
table inet cilium-bgp
delete table inet cilium-bgp
table inet cilium-bgp {
    set nodes {
        type ipv4_addr
        elements = { $nodes }
    }
    chain input {
        type filter hook input priority filter - 1; policy accept;
        ip daddr $gateway iifname != { "$bridge", "lo" } drop
        iifname "$bridge" ip daddr $gateway tcp dport 179 jump bgp
    }
    chain bgp {
        ip saddr != @nodes drop
        ip ttl != 255 drop
    }
    chain forward {
        type filter hook forward priority filter - 1; policy accept;
        # An uplink with a smaller MTU than the bridge: the other side learns it here.
        iifname "$bridge" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
        $opened
        oifname "$bridge" iifname != "$bridge" ct state != { established, related } ct status & dnat == 0 drop
    }
}
RULES
# An accept is final only in its own table, so where iptables' may drop (UFW, Docker) it has to be one of theirs.
put "$program" 755 <<PROGRAM
#!/bin/sh
# Written by cilium-bgp. usage: firewall start|stop
set -eu
ours() { iptables -w 30 -S | grep -e '--comment cilium-bgp ' || true; }
accepted() {
    ours | sed 's/^-A/-D/'
    [ "\$1" = stop ] || while read -r rule; do echo "-I \$rule -m comment --comment cilium-bgp -j ACCEPT"; done <<RULES
INPUT -i $bridge -p udp -m udp --dport 67
INPUT -i $bridge -p udp -m udp --dport 53
INPUT -i $bridge -p tcp -m tcp --dport 53
INPUT -i $bridge -d $gateway -p tcp -m tcp --dport 179
INPUT -i $bridge -d $gateway -p tcp -m tcp --dport $api_port
FORWARD -i $bridge
FORWARD -o $bridge
RULES
}
case \$1 in
start) nft -f $rules ;;
stop) nft 'table inet cilium-bgp; delete table inet cilium-bgp' ;;
esac
if command -v iptables >/dev/null; then
    changes=\$(accepted "\$1")
    [ -z "\$changes" ] || printf '*filter\n%s\nCOMMIT\n' "\$changes" | iptables-restore -w 30 --noflush
fi
PROGRAM
put /etc/systemd/system/cilium-bgp-firewall.service 644 <<UNIT
[Unit]
Description=Firewall for the bridge of the cluster's nodes (written by cilium-bgp)
After=nftables.service netfilter-persistent.service ufw.service
Before=frr.service lxd.service snap.lxd.daemon.service
# These flush what they do not know.
PartOf=nftables.service netfilter-persistent.service
ReloadPropagatedFrom=nftables.service netfilter-persistent.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$program start
ExecReload=$program start
ExecStop=$program stop

[Install]
WantedBy=multi-user.target
UNIT

command -v nft >/dev/null || apt_install nftables
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet cilium-bgp-firewall
    set -- systemctl reload-or-restart cilium-bgp-firewall
else
    set -- "$program" start
fi
if ! said=$("$@" 2>&1 </dev/null); then
    journalctl -u cilium-bgp-firewall -n 20 --no-pager >&2 2>/dev/null || true
    fail "the firewall's rules for $bridge ($rules) were refused: $said"
fi
applied
nft list table inet cilium-bgp >/dev/null || fail "the firewall's rules for $bridge are not there, although they were loaded"
echo "$bridge: BGP from $nodes${open:+; $pool for $open}"
