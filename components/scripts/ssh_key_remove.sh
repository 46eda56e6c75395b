# Remove the key pair that ssh_key.sh made; one that was there before stays.
key=$HOME/.ssh/id_ed25519
if grep -q " cilium-bgp@" "$key.pub" 2>/dev/null; then rm -f "$key" "$key.pub"; fi
