# Move the pods away from a node and take it out of the cluster.
# usage: node_remove.sh NAME
name=$1
await 60 "the Kubernetes API, to remove node $name" k3s kubectl get node "$name" --ignore-not-found -o name || exit 1
[ -n "$await_seen" ] || exit 0
k3s kubectl drain "$name" --ignore-daemonsets --delete-emptydir-data --force --timeout=120s >&2 </dev/null ||
    echo "$name could not be drained within 120 s (a dead node cannot answer); it is removed all the same" >&2
k3s kubectl delete node "$name" --ignore-not-found --timeout=60s >&2 </dev/null
