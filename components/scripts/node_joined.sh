# Wait until the cluster knows a node. It is Ready with the network only, which comes with Cilium: so that is awaited
# where another node is. One that was drained for a change (node_drain.sh) takes pods again.
# Prints its name, whether it is Ready, and the addresses of the other nodes of this cluster that are.
# usage: node_joined.sh NAME SECONDS
name=$1 limit=$2
joined() {
    nodes=$(k3s kubectl get nodes --no-headers 2>&1) || { echo "$nodes" && return 1; }
    echo "$nodes" | awk -v name="$name" '
        { ready = $2 ~ /^Ready/ }
        $1 == name { its = $0; is_ready = ready; next }
        { print }
        ready { network = 1 }
        END { print its ? its : name " is not there"; exit !(its && (is_ready || !network)) }'
}
await "$limit" "node $name in the cluster, Ready if others are" joined || {
    k3s kubectl get nodes -o wide >&2 || true
    exit 1
}
others() {
    k3s kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name}|{.status.conditions[?(@.type=="Ready")].status}|{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
}
ready=$(echo "$await_seen" | awk -v name="$name" '$1 == name { print($2 ~ /^Ready/ ? "Ready" : "NotReady") }')
takes_pods() {
    aside=$(k3s kubectl get node "$name" -o 'jsonpath={.metadata.annotations.cilium-bgp/aside}') || return
    [ -z "$aside" ] || { k3s kubectl uncordon "$name" && k3s kubectl annotate node "$name" cilium-bgp/aside-; }
}
await 60 "$name to take pods again" takes_pods || exit 1
await 60 "the other nodes of the cluster" others || exit 1
echo "$name $ready$(echo "$await_seen" | awk -F '|' -v name="$name" '$1 != name && $2 == "True" { printf " %s", $3 }')"
