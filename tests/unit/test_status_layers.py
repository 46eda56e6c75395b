"""status: what is told of what was seen, where neither the simulator nor the lab has it so."""

from dataclasses import replace
from typing import Any

import pytest

from settings import versions
from status.finding import Finding
from status.layers import judge
from status.stack import Stack, UnknownError, stack_of

WAY = {"host": "198.51.100.7", "port": 2222.0, "user": "me", "privateKey": "secret", "hostKey": "ssh-ed25519 AAAA"}
STACK = Stack("mine", WAY, {"k3s1": "10.26.23.11"}, {"nodes": {}})


def seen(**node: Any) -> dict[str, Any]:
    its = {"ready": True, "said": "", "version": "v1.36.2+k3s1", "cordoned": False} | node
    return {
        "instances": {"k3s1": {"name": "k3s1", "project": "p", "status": "Running", "unit": "k3s", "state": "active"}},
        "endpoint": "",
        "cluster": {"nodes": {"k3s1": its}, "agents": {}, "operator": 1, "services": {}},
        "sessions": {},
        "upstreams": {},
        "routes": {},
        "answers": {},
    }


def broken(found: dict[str, Any]) -> tuple[str, Finding]:
    layer = next(its for its in judge(STACK, found) if its.state == "broken")
    return layer.name, layer.findings[0]


def test_lines_to_type_are_for_the_user_and_the_port_that_the_stack_has() -> None:
    layer, finding = broken({**seen(), "instances": {"error": "refused"}})
    assert (layer, finding.what) == ("LXD", "LXD on the host does not answer: refused")
    assert finding.fix.startswith("`ssh -p 2222 me@198.51.100.7 sudo systemctl restart lxd`")


def test_a_node_that_is_not_ready_is_k3ss_unless_it_waits_for_the_network() -> None:
    layer, finding = broken(seen(ready=False, said="Kubelet stopped posting node status."))
    assert (layer, finding.what) == ("k3s", "k3s1: it is not Ready: Kubelet stopped posting node status.")
    layer, finding = broken(seen(ready=False, said="container runtime network not ready: cni plugin not initialized"))
    assert (layer, finding.what) == ("Cilium", "k3s1: no agent of Cilium's runs on it")


def test_a_cordoned_node_is_told_and_is_well() -> None:
    k3s = judge(STACK, seen(cordoned=True))[2]
    assert k3s.state == "well"
    (said,) = k3s.seen
    assert said.startswith("k3s1 runs v1.36.2+k3s1 (")
    assert said.endswith("), and takes no new pods: it is cordoned")


def test_without_a_server_that_answers_it_says_what_the_others_said() -> None:
    layer, finding = broken({**seen(), "cluster": {"error": "k3s1: etcdserver: no leader"}})
    assert (layer, finding.what) == ("k3s", "no server answers: k3s1: etcdserver: no leader")
    assert "docs/operations.md" in finding.fix


@pytest.mark.parametrize(("pods", "why"), [(1, "503"), (0, "none of its pods is ready")])
def test_a_service_that_is_routed_and_does_not_answer_is_told_why(pods: int, why: str) -> None:
    address, agent = "10.26.23.35", {"pod": "cilium-a", "ready": True, "said": "", "version": "1.20.2"}
    found = seen() | {"routes": {address: ["10.26.23.11"]}, "answers": {"default/web": 503}}
    services = {"default/web": {"addresses": [address], "port": 80, "endpoints": pods}}
    found["cluster"] |= {"agents": {"k3s1": agent}, "services": services}
    outputs = {"load_balancer_ips": {"default/web": address}, "ssh_commands": {"default/web": "ssh"}}
    *_, layer = judge(replace(STACK, outputs=outputs), found)
    assert [finding.what for finding in layer.findings] == [f"default/web: {address} does not answer: {why}"]
    assert layer.findings[0].fix.endswith("k3s kubectl -n default get pods,events -o wide`")


def test_an_upstream_without_a_session_is_named_with_the_line_that_says_more() -> None:
    agent = {"pod": "cilium-a", "ready": True, "said": "", "version": "1.20.2"}
    found = seen() | {"upstreams": {"lan": {"address": "192.168.1.1", "state": "Connect", "told": []}}}
    found["cluster"]["agents"] = {"k3s1": agent}
    layer, finding = broken(found)
    assert (layer, finding.what) == ("BGP", "upstream lan (192.168.1.1): its BGP session is Connect")
    assert "sudo vtysh -c 'show bgp neighbors 192.168.1.1'`" in finding.fix
    found["upstreams"]["lan"] |= {"state": "Established", "told": ["10.26.23.32/27"]}
    assert "upstream lan has a session and is told 1 prefixes" in judge(STACK, found)[4].seen


def test_a_stack_that_has_not_reached_a_host_has_nothing_to_look_at() -> None:
    with pytest.raises(UnknownError, match="the stack mine has nothing on any host yet: make up STACK=mine"):
        stack_of("mine", [{"urn": "urn:pulumi:mine::p::pulumi:pulumi:Stack::p-mine", "type": "pulumi:pulumi:Stack"}])


def test_each_kubernetes_that_a_cilium_is_tested_with_is_known_to_end() -> None:
    newest = max(tested.newest for all_ in versions.TESTED_KUBERNETES.values() for tested in all_)
    assert {(1, minor) for minor in range(25, newest[1] + 1)} <= versions.KUBERNETES_ENDS.keys()
    ended = {minor for minor, end in versions.KUBERNETES_ENDS.items() if end < "2026-11"}
    assert max(ended) < versions.FIXED_KUBERNETES, "both say the same as of November 2026"
