# Print the token that other machines join with. A secret.
cat /var/lib/rancher/k3s/server/node-token
