# Wait until kinds are served in an API version. That they are Established says nothing: they stay so through an upgrade.
# usage: crds_established.sh SECONDS GROUP/VERSION PLURAL…
limit=$1 version=$2
shift 2
for plural; do
    served() { k3s kubectl get --raw "/apis/$version" | grep -oF "\"name\":\"$plural\"" || fail "$version has no $plural"; }
    await "$(left "$limit")" "kind $plural in $version, which cilium-operator registers" served || {
        k3s kubectl -n kube-system get pods -o wide >&2 || true
        k3s kubectl -n kube-system logs deployment/cilium-operator --tail=20 >&2 || true
        exit 1
    }
done
echo "$version: $*"
