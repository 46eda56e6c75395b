# The host is nobody's any more.
rm -f /var/lib/cilium-bgp/owner /var/lib/cilium-bgp/owner.new /var/lib/cilium-bgp/preflight.sh.changed
rmdir /var/lib/cilium-bgp 2>/dev/null || true
