# Wait until kinds are there and served.
# usage: crds_established.sh SECONDS CRD…
limit=$1
shift
for crd; do
    established() { k3s kubectl wait --for=condition=Established --timeout=1s "crd/$crd"; }
    await "$(left "$limit")" "kind $crd, which cilium-operator registers" established || {
        k3s kubectl -n kube-system get pods -o wide >&2 || true
        k3s kubectl -n kube-system logs deployment/cilium-operator --tail=20 >&2 || true
        exit 1
    }
done
echo "$*"
