# Set the sysctls back and load nothing at the next boot any more; modules that are loaded stay until then.
kept=/var/lib/cilium-bgp/sysctl

[ ! -e "$kept" ] || sysctl -q -p "$kept"
rm -f /etc/modules-load.d/cilium-bgp.conf /etc/sysctl.d/60-cilium-bgp.conf "$kept"
rmdir /var/lib/cilium-bgp 2>/dev/null || true
