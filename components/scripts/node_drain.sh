# Move the pods away from a node before it is changed, if it lives and there is another one for them.
# usage: node_drain.sh NAME SECONDS
name=$1 limit=$2
list() { k3s kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name}|{.spec.unschedulable}|{.status.conditions[?(@.type=="Ready")].status}|{.metadata.annotations.cilium-bgp/aside}{"\n"}{end}'; }
await 60 "the Kubernetes API, to drain node $name" list || exit 1
nodes=$await_seen
echo "$nodes" | grep -q "^$name|.*|True|" || exit 0
echo "$nodes" | grep -v "^$name|" | grep -q '||True|' || exit 0
# Who has lost its API asks again after up to a minute (client-go), Cilium's agents and the controllers too: until then
# requests would go on to pods that have gone.
# Hundredths of seconds from boot to the start of a process (proc(5), starttime): one that has just started tells the time.
start() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20; }
settled() {
    began=$(start "$(systemctl show --property MainPID --value k3s)")
    [ -n "$began" ] || return 1
    age=$((($(start self) - began) / 100))
    echo "k3s on $(hostname) started $age s ago"
    [ "$age" -ge 60 ]
}
await 90 "the Kubernetes API up for a minute" settled || :
replicas() { k3s kubectl get replicasets -A -o 'jsonpath={range .items[*]}{.status.readyReplicas}{"\n"}{end}' | awk '{ sum += $1 } END { print sum + 0 }'; }
before=$(replicas)
ours=''
case $(echo "$nodes" | grep "^$name|") in
"$name||"*)
    k3s kubectl annotate node "$name" cilium-bgp/aside=true --overwrite >&2
    ours=yes
    ;;
*'|true') ours=yes ;; # again, after a run that was cut off; one that somebody has cordoned stays so
esac
undo() { k3s kubectl uncordon "$name" && k3s kubectl annotate node "$name" cilium-bgp/aside-; }
spread "$name"
k3s kubectl drain "$name" --ignore-daemonsets --delete-emptydir-data --force --timeout="${limit}s" >&2 </dev/null || {
    [ -z "$ours" ] || await 60 "$name to take pods again" undo || :
    fail "$name could not be drained within $limit s (k3s.drainTimeoutSeconds); a PodDisruptionBudget may refuse. Nothing has been changed on it. See the lines above, make room, and run again"
}
# A server takes its API along: what has moved is Ready before.
moved() {
    now=$(replicas)
    echo "$now of $before pods are Ready"
    [ "$now" -ge "$before" ]
}
await 60 "what ran on $name Ready elsewhere" moved || : # there may be no room for all
