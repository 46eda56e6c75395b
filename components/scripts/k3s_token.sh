# Print the join token of a cluster that an earlier version of this program has started here, if any. A secret.
token=/var/lib/rancher/k3s/server/node-token
[ ! -e "$token" ] || cat "$token"
