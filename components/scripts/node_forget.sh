# Take a former instance of a node out of the cluster, so that the present one can join under its name. Prints the hash by
# which k3s's tokens name the cluster's authority.
# usage: node_forget.sh NAME MACHINE_ID     (of the present one)
name=$1 machine=$2
known() { k3s kubectl get node "$name" --ignore-not-found -o 'jsonpath={.status.nodeInfo.machineID}'; }
await 60 "the Kubernetes API, to look for node $name" known || exit 1
if [ -n "$await_seen" ] && [ "$await_seen" != "$machine" ]; then
    echo "node $name: its former instance (machine-id $await_seen) is taken out of the cluster" >&2
    # k3s removes a server from etcd with its node object, and keeps that until it is done.
    k3s kubectl delete node "$name" --ignore-not-found --timeout=120s >&2 </dev/null ||
        fail "the former $name is still in the cluster after 120 s; with servers lost, etcd may have no majority: k3s kubectl get nodes"
fi
sha256sum /var/lib/rancher/k3s/server/tls/server-ca.crt | cut -d ' ' -f 1
