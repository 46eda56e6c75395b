# Ask echo-service from the client pod, and check that Cilium has put Envoy in between.
# usage: l7_check.sh SECONDS NAMESPACE
limit=$1 namespace=$2

envoy_configured() {
    k3s kubectl get ciliumenvoyconfigs -n "$namespace" -o name | grep cilium-envoy-lb
}
await "$(left "$limit")" "a CiliumEnvoyConfig cilium-envoy-lb-… for $namespace/echo-service" envoy_configured || {
    k3s kubectl -n kube-system logs deployment/cilium-operator --tail=20 >&2 || true
    exit 1
}
asks() {
    k3s kubectl -n "$namespace" exec deployment/client -- curl -sS -i --fail --max-time 5 http://echo-service:8080/
}
await "$(left "$limit")" "an answer from echo-service:8080 to the client pod" asks || {
    k3s kubectl -n "$namespace" get pods,services -o wide >&2 || true
    exit 1
}
echo "$await_seen" | grep -qi '^server: *envoy' || fail "echo-service answered, but not through Envoy: $(echo "$await_seen" | head -n 12)"
echo "$await_seen" | tr -d '\r' | grep '^HTTP/'
