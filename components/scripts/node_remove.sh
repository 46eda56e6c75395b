# Move the pods away from a node and take it out of the cluster. k3s removes a server from etcd with its node object.
# usage: node_remove.sh NAME [SECONDS]     (for the drain)
name=$1 limit=${2:-120}
await 60 "the Kubernetes API, to remove node $name" k3s kubectl get node "$name" --ignore-not-found -o name || exit 1
[ -n "$await_seen" ] || exit 0
servers() { k3s kubectl get nodes -l node-role.kubernetes.io/control-plane -o name; }
await 60 "the cluster's servers, to remove node $name" servers || exit 1
if [ "$await_seen" = "node/$name" ]; then
    echo "$name is the only server: the cluster goes with it, there is none to leave" >&2 # etcd keeps its last member
    exit 0
fi
ready() { k3s kubectl get node "$name" --ignore-not-found -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'; }
spread "$name"
k3s kubectl drain "$name" --ignore-daemonsets --delete-emptydir-data --force --timeout="${limit}s" >&2 </dev/null &
drain=$!
while kill -0 "$drain" 2>/dev/null; do
    [ "$(ready)" != Unknown ] || kill "$drain" 2>/dev/null || : # nobody is there to end its pods
    sleep 1
done
if ! wait "$drain"; then
    [ "$(ready)" != True ] || fail "$name could not be drained within $limit s (k3s.drainTimeoutSeconds), and it lives: a PodDisruptionBudget may refuse. See the lines above, make room, and run again"
    echo "$name could not be drained (a dead node cannot answer); it is removed all the same" >&2
fi
k3s kubectl delete node "$name" --ignore-not-found --timeout=120s >&2 </dev/null
