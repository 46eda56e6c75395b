# Move the pods away from a node before it is changed, if it lives and there is another one for them.
# usage: node_drain.sh NAME SECONDS
name=$1 limit=$2
list() { k3s kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name}|{.spec.unschedulable}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.annotations.cilium-bgp/aside}{"\n"}{end}'; }
await 60 "the Kubernetes API, to drain node $name" list || exit 1
echo "$await_seen" | grep -q "^$name|.*|True|" || exit 0
echo "$await_seen" | grep -v "^$name|" | grep -q '||True|' || exit 0
ours=''
case $(echo "$await_seen" | grep "^$name|") in
"$name||"*)
    k3s kubectl annotate node "$name" cilium-bgp/aside=true --overwrite >&2
    ours=yes
    ;;
*'|true') ours=yes ;; # again, after a run that was cut off; one that somebody has cordoned stays so
esac
k3s kubectl drain "$name" --ignore-daemonsets --delete-emptydir-data --force --timeout="${limit}s" >&2 </dev/null || {
    undo() { k3s kubectl uncordon "$name" && k3s kubectl annotate node "$name" cilium-bgp/aside-; }
    [ -z "$ours" ] || await 60 "$name to take pods again" undo || :
    fail "$name could not be drained within $limit s (k3s.drainTimeoutSeconds); a PodDisruptionBudget may refuse. Nothing has been changed on it. See the lines above, make room, and run again"
}
