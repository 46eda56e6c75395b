# Load nothing at the next boot any more; what is loaded stays until then.
rm -f /etc/modules-load.d/cilium-bgp.conf /etc/sysctl.d/60-cilium-bgp.conf
