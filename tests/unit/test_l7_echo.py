"""Cilium's echo-service example, through Envoy."""

from typing import Any

import pytest

from tests.unit.graph import Graph, Secret, stack, values

VERSIONS = ("1.13.0", "v1.25.6+k3s1"), ("1.16.19", "v1.30.6+k3s1")


def l7(cilium: str = "1.13.0", kubernetes: str = "v1.25.6+k3s1") -> Graph:
    replaced = {"version": cilium, "kubeProxyReplacement": True}
    return stack(values(cilium=replaced, k3s={"version": kubernetes}, l7echo={"enabled": True}))


@pytest.mark.parametrize(("cilium", "kubernetes", "replaced"), [(*VERSIONS[0], "strict"), (*VERSIONS[1], True)])
def test_the_chart_gets_envoy_and_no_kube_proxy(cilium: str, kubernetes: str, replaced: object) -> None:
    chart = l7(cilium, kubernetes)["cilium-release"].inputs["values"]
    assert chart["loadBalancer"] == {"l7": {"backend": "envoy"}}
    assert chart["kubeProxyReplacement"] == replaced
    assert (chart["k8sServiceHost"], chart["k8sServicePort"]) == ("127.0.0.1", 6444)


def test_without_it_there_is_none_of_it() -> None:
    its = stack()
    assert not [resource.name for resource in its if resource.name.startswith("l7echo")]
    chart = its["cilium-release"].inputs["values"]
    assert not {"loadBalancer", "kubeProxyReplacement", "k8sServiceHost", "k8sServicePort"} & chart.keys()
    assert "l7_answer" not in its.outputs


def pod(its: Graph, name: str) -> dict[str, Any]:
    deployment = its[name].inputs["spec"]
    assert deployment["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()
    found: dict[str, Any] = deployment["template"]["spec"]
    return found


def test_its_objects_are_those_of_the_example() -> None:
    its = l7()
    assert {name: resource.type for name, resource in its.children("l7echo").items()} == {
        "l7echo-namespace": "kubernetes:core/v1:Namespace",
        "l7echo-coredns": "kubernetes:core/v1:ConfigMap",
        "l7echo-client": "kubernetes:apps/v1:Deployment",
        "l7echo-echo": "kubernetes:apps/v1:Deployment",
        "l7echo-service": "kubernetes:core/v1:Service",
        "l7echo-check": "command:remote:Command",
    }
    names = {"coredns": "coredns-configmap", "client": "client", "echo": "echo-service", "service": "echo-service"}
    for part, name in names.items():
        metadata = its[f"l7echo-{part}"].inputs["metadata"]
        assert (metadata["name"], metadata["namespace"]) == (name, "l7echo")
        assert "l7echo-namespace" in its.before(its[f"l7echo-{part}"])


def test_the_service_asks_for_envoy() -> None:
    service = l7()["l7echo-service"].inputs
    assert service["metadata"]["annotations"] == {"service.cilium.io/lb-l7": "enabled"}
    assert service["spec"] == {
        "type": "ClusterIP",
        "selector": {"kind": "echo"},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def test_two_echo_pods_beside_the_client_with_a_coredns_sidecar() -> None:
    its = l7()
    assert its["l7echo-echo"].inputs["spec"]["replicas"] == 2
    spec = pod(its, "l7echo-echo")
    echo, dns = spec["containers"]
    assert (echo["name"], echo["image"]) == ("echo-service", "quay.io/cilium/json-mock:v1.3.2")
    assert echo["ports"] == [{"containerPort": 8080}]
    assert echo["env"] == [{"name": "PORT", "value": "8080"}]
    assert echo["readinessProbe"] == {"exec": {"command": ["curl", "-sS", "--fail", "localhost:8080"]}}
    assert (dns["name"], dns["image"]) == ("dns-test-server", "docker.io/coredns/coredns:1.9.3")
    assert dns["volumeMounts"] == [{"name": "coredns-config-volume", "mountPath": "/etc/coredns", "readOnly": True}]
    (volume,) = spec["volumes"]
    assert volume == {
        "name": "coredns-config-volume",
        "configMap": {"name": "coredns-configmap", "items": [{"key": "Corefile", "path": "Corefile"}]},
    }
    assert "forward . /etc/resolv.conf" in its["l7echo-coredns"].inputs["data"]["Corefile"]
    (term,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    (wanted,) = term["labelSelector"]["matchExpressions"]
    labels = its["l7echo-client"].inputs["spec"]["template"]["metadata"]["labels"]
    assert labels[wanted["key"]] in wanted["values"]
    assert wanted["operator"] == "In"


def test_the_client_stays_to_be_asked_from() -> None:
    (client,) = pod(l7(), "l7echo-client")["containers"]
    assert (client["image"], client["command"]) == (
        "quay.io/cilium/alpine-curl:v1.5.0",
        ["/bin/ash", "-c", "sleep 10000000"],
    )


def test_it_is_asked_once_all_of_it_is_there_and_again_with_every_release() -> None:
    its = l7()
    check = its["l7echo-check"]
    assert (check.ran().file, check.ran().parameters) == ("l7_check.sh", ("300", "l7echo"))
    assert check.ran().seconds > 2 * 300, "it waits twice, and says why it failed before it is ended"
    assert {"l7echo-client", "l7echo-echo", "l7echo-service"} <= its.before(check)
    assert isinstance(check.inputs["stdin"], Secret)
    assert check.inputs["stdin"] != l7(*VERSIONS[1])["l7echo-check"].inputs["stdin"]
    for name, resource in its.children("l7echo").items():
        assert "cilium-ready" in its.before(resource), name
        assert resource.deleted_with == its["k3s-identity"].urn


def test_it_gives_the_answer_that_came_through_envoy() -> None:
    its = l7()
    assert its.outputs_of("l7echo") == {"answer": "HTTP/1.1 200 OK"}
    assert its.outputs["l7_answer"] == "HTTP/1.1 200 OK"
