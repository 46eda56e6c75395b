# Make this container ready for Cilium, now and at every boot, before k3s starts. Prints its machine-id last.
unit=/etc/systemd/system/cilium-bgp-mounts.service

# Its own bpf file system: agents that share one overwrite each other's pinned maps. Shared propagation: Cilium's pods
# mount back into the node (cilium/cilium#32357).
put "$unit" 644 <<'UNIT'
[Unit]
Description=Mounts that Cilium needs (written by cilium-bgp)
DefaultDependencies=no
After=local-fs.target
Before=k3s.service k3s-agent.service containerd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf'
ExecStart=/bin/mount --make-rshared /

[Install]
WantedBy=multi-user.target
UNIT
# systemd-networkd must leave Cilium's routes and rules alone (cilium/cilium#18706).
put /etc/systemd/networkd.conf.d/cilium-bgp.conf 644 <<'NETWORKD'
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
NETWORKD
# What the node itself sends leaves with TTL 255, what it forwards for a pod with less: by that the host's firewall knows
# who speaks BGP (RFC 5082).
echo 'net.ipv4.ip_default_ttl = 255' | put /etc/sysctl.d/60-cilium-bgp.conf 644

if changed; then
    echo 255 >/proc/sys/net/ipv4/ip_default_ttl
    systemctl daemon-reload
    systemctl enable --quiet cilium-bgp-mounts
    systemctl restart cilium-bgp-mounts
    systemctl try-restart systemd-networkd
fi
[ "$(findmnt -n -o FSTYPE /sys/fs/bpf | sort -u)" = bpf ] || fail "/sys/fs/bpf is $(findmnt -n -o FSTYPE /sys/fs/bpf), not bpf"
applied
stat -c 'bpf file system: device %d' /sys/fs/bpf
cat /etc/machine-id
