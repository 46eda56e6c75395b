# The host is nobody's any more. The keys that entered it stay where they are, as its user's.
rm -f /var/lib/cilium-bgp/owner /var/lib/cilium-bgp/owner.new /var/lib/cilium-bgp/preflight.sh.changed /var/lib/cilium-bgp/authorized_keys.*
rmdir /var/lib/cilium-bgp 2>/dev/null || true
