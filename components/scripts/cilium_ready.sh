# Wait until Cilium runs everywhere as configured.
# usage: cilium_ready.sh SECONDS REVISION NODES WORKLOAD…     (NODES: names in one word)
limit=$1 revision=$2 nodes=$3
shift 3

explain() {
    k3s kubectl get nodes -o wide >&2 || true
    k3s kubectl -n kube-system get pods -o wide >&2 || true
    k3s kubectl -n kube-system get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 >&2 || true
    for app in cilium cilium-operator cilium-envoy hubble-relay hubble-ui; do
        k3s kubectl -n kube-system logs "-l=k8s-app=$app" --tail=15 >&2 || true
        k3s kubectl -n kube-system logs "-l=io.cilium/app=${app#cilium-}" --tail=15 >&2 || true
    done
    fail "$1: not within $limit s; pods, events and last log lines are above"
}

for workload; do
    exists() { k3s kubectl -n kube-system get "$workload" -o name; }
    await "$(left "$limit")" "$workload" exists || explain "$workload"
    k3s kubectl -n kube-system rollout status "$workload" --timeout="$(left "$limit")s" >&2 </dev/null || explain "rollout of $workload"
done
for node in $nodes; do
    k3s kubectl wait --for=condition=Ready --timeout="$(left "$limit")s" "node/$node" >&2 </dev/null || explain "node $node Ready"
done
echo "revision $revision on $nodes: $*"
