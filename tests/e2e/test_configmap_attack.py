"""Who gets where: a pod at the router, a neighbour with a static route, and what listens on host and nodes."""

import re
from collections.abc import Iterator

import pytest

from lab import machine
from lab.machine import Machine
from tests.e2e.attack import GATEWAY, TTLS, from_machine, from_node, listening, listening_on_the_host, pod_network
from tests.e2e.stack import HOST, NODES, Fresh, on_node, sessions

pytestmark = pytest.mark.e2e


# SSH, DHCP's client, kubelet, Cilium's VXLAN and health, Hubble, its metrics.
ON_A_NODE = {("tcp", 22), ("udp", 68), ("tcp", 10250), ("udp", 8472), ("tcp", 4240), ("tcp", 4244), ("tcp", 9965)}
ON_A_SERVER = {("tcp", 6443), ("tcp", 2379), ("tcp", 2380)}
OPERATORS = {("tcp", 9963)}
"""Metrics of Cilium's operator, on the nodes that it runs on."""


@pytest.fixture(scope="module")
def neighbour(configmap: Fresh) -> Iterator[Machine]:
    """Somebody on the LAN, who has a route to the nodes' network over the host."""
    its = machine.make("neighbour", "host", "10.26.22.77")
    for network in ("10.26.23.0/24", "10.42.0.0/16"):
        its.run("ip", "route", "add", network, "via", HOST.address)
    yield its
    machine.remove("neighbour")


def test_a_pod_does_not_reach_the_router_whatever_it_sends(configmap: Fresh) -> None:
    for node in NODES:
        reached = from_node(node, [(GATEWAY, 22, 64), *((GATEWAY, 179, ttl) for ttl in TTLS)], pod_network(node))
        assert reached == {(GATEWAY, 22, 64)}, "the host itself it reaches"
    assert sessions() == dict.fromkeys(NODES.values(), "Established")


def test_a_pods_account_cannot_read_the_password(configmap: Fresh) -> None:
    ask = ["k3s", "kubectl", "auth", "can-i", "get", "configmaps", "-n", "kube-system"]
    ask += ["--as=system:serviceaccount:default:default"]
    assert on_node("k3s1", "sh", "-c", f"{' '.join(ask)} || true").strip() == "no"


def test_what_is_learned_from_a_node_is_the_pool_and_its_own_pods(configmap: Fresh) -> None:
    told = HOST.run("vtysh", "-c", "show running-config")
    assert re.findall(r"neighbor NODES password (\S+)", told), "unsigned sessions"
    for node in configmap.kubectl("get", "ciliumnodes")["items"]:
        address = NODES[node["metadata"]["name"]]
        lines = re.findall(rf"^ip prefix-list NODE-{address} seq \d+ permit (.+)$", told, re.MULTILINE)
        assert lines == ["10.26.23.32/27 ge 32 le 32", *node["spec"]["ipam"]["podCIDRs"]]


def test_a_static_route_leads_a_neighbour_nowhere(configmap: Fresh, neighbour: Machine) -> None:
    documented = {(HOST.address, 6443), (HOST.address, 22)}
    (pod,) = configmap.kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=hubble-relay")["items"]
    inside = {(NODES["k3s1"], 6443), (NODES["k3s2"], 10250), (NODES["k3s2"], 22), (GATEWAY, 53), (GATEWAY, 179)}
    inside |= {(address, 80) for address in configmap.outputs["load_balancer_ips"].values()}
    inside.add((pod["status"]["podIP"], 4245))
    assert from_machine(HOST, inside - {(GATEWAY, 179)}) == inside - {(GATEWAY, 179)}, "the host has them all"
    assert from_machine(neighbour, documented | inside) == documented


def test_what_listens_is_what_is_documented(configmap: Fresh) -> None:
    ours = {
        ("tcp", GATEWAY, 179),
        ("tcp", GATEWAY, 53),
        ("udp", GATEWAY, 53),
        ("udp", "0.0.0.0", 67),
        ("tcp", "0.0.0.0", 6443),
    }
    dnsmasq = {("tcp", 53), ("udp", 53)}  # on the bridge's link-local address too
    new = listening_on_the_host() - configmap.listened
    assert {its for its in new if not (its[1].startswith("fe80:") and (its[0], its[2]) in dnsmasq)} == ours
    for node in NODES:
        heard = {(protocol, port) for protocol, _, port in listening(on_node(node, "ss", "-Hltun"))}
        assert heard - OPERATORS == ON_A_NODE | (ON_A_SERVER if node == "k3s1" else set()), node
