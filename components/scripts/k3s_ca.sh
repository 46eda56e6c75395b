# Print the hash by which k3s's tokens name the cluster's authority (k3s, `k3s token`: of the file as it is).
sha256sum /var/lib/rancher/k3s/server/tls/server-ca.crt | cut -d ' ' -f 1
