# Wait until the cluster knows a node. It is not Ready yet: that takes the network, which comes with Cilium.
# usage: node_joined.sh NAME SECONDS
name=$1 limit=$2
await "$limit" "node $name in the cluster" k3s kubectl get node "$name" -o name || {
    k3s kubectl get nodes -o wide >&2 || true
    exit 1
}
echo "$name"
