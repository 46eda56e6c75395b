"""The check that it really works, as a part of the graph; the scripts themselves are tested in tests/scripts."""

import json
from typing import Any

import pytest

from tests.unit import graph
from tests.unit.graph import (
    BGP_PASSWORD,
    DEV,
    SSH_KEY,
    Graph,
    Registered,
    Secret,
    dev,
    plain,
    stack,
    strings,
    taken_apart,
    values,
)

PROVEN = ("proof-addresses", "proof-routes")

SERVICES = ("kube-system/traefik", "kube-system/hubble-relay", "kube-system/hubble-ui", "default/fcdemo-service")


def test_every_load_balancer_must_have_an_address() -> None:
    addresses = dev()["proof-addresses"]
    ran = addresses.ran()
    assert (ran.file, ran.parameters) == ("load_balancer_ips.py", ("300", "10.26.23.32/27", *SERVICES))
    assert ran.seconds > 300
    assert addresses.deleted_with == dev()["k3s-identity"].urn


def test_the_host_must_have_a_session_a_route_and_an_answer() -> None:
    routes = dev()["proof-routes"]
    ran = routes.ran()
    seconds, nodes, upstreams, addresses, own, *http = ran.parameters
    assert (ran.file, seconds, http) == ("proof.py", "300", ["default/fcdemo-service"])
    assert ran.seconds > 300
    assert json.loads(nodes) == {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12", "k3s3": "10.26.23.13"}
    assert json.loads(upstreams) == {}
    assert json.loads(own) == list(SERVICES)
    assert json.loads(addresses) == {name: f"10.26.23.{32 + place}" for place, name in enumerate(SERVICES)}
    assert routes.deleted_with == dev()["host-key"].urn


def test_it_comes_last() -> None:
    before = dev().before(dev()["proof-routes"])
    assert {"proof-addresses", "cilium-ready", "router-frr", "fcdemo-service", "k3s2-joined", "k3s3-joined"} <= before


def test_the_time_limit_is_configured() -> None:
    quick = stack(values(proof={"timeoutSeconds": 7}))
    assert [quick[name].ran().parameters[0] for name in PROVEN] == ["7", "7"]
    assert not [name for name in PROVEN if "triggers" in quick[name].inputs], "a trigger would replace it"


def test_the_hosts_starts_are_what_it_rests_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = dev()["proof-boot"]
    assert boot.type == "pulumi-python:dynamic/cilium-bgp:Boot"
    assert taken_apart(boot.inputs["command"]).file == "booted.sh"
    assert isinstance(boot.inputs["machine"], Secret)
    assert boot.inputs["identity"] == "4711 ssh-ed25519 AAAAhost"
    assert boot.deleted_with == dev()["host-key"].urn
    again = graph.answer
    second = {"started": "second start"}
    monkeypatch.setattr(graph, "answer", lambda its: second if its.name == "proof-boot" else again(its))
    after = graph.registered(graph.program(values()))
    assert [name for name in PROVEN if after[name].inputs["stdin"] == dev()[name].inputs["stdin"]] == []


def dev_with(**roots: Any) -> Graph:
    return stack(values(**roots))


def control_plane_with(password: str = BGP_PASSWORD, **roots: Any) -> Graph:
    base: dict[str, Any] = {
        "bgp": {"mode": "control-plane", "gracefulRestart": True},
        "cilium": {"version": "1.16.19", "kubeProxyReplacement": True},
        "k3s": {"version": "v1.30.2+k3s1"},
    }
    merged = {
        **base,
        **{root: {**base.get(root, {}), **its} if root != "nodes" else its for root, its in roots.items()},
    }
    return stack(values(**merged), {"sshPrivateKey": SSH_KEY, "bgpPassword": password})


NODES = {name: {"role": "server", "address": f"10.26.23.{last}"} for name, last in (("k3s1", 11), ("k3s2", 12))}
NODES["k3s2"]["role"] = "agent"
BOTH: list[dict[str, Any]] = [
    {"bgp": {"localAsn": 64513}},
    {"bgp": {"peerAsn": 64513}},
    {"bgp": {"pool": "10.26.23.64/27"}},
    {"bgp": {"announcePodCidr": False}},
    {"bgp": {"holdTimeSeconds": 60}},
    {"bgp": {"keepaliveTimeSeconds": 20}},
    {"k3s": {"serviceCidr": "10.44.0.0/16"}},
    {"k3s": {"installerUrl": "https://k3s.example"}},
    {"cilium": {"values": {"debug": {"enabled": True}}}},
    {"hubble": {"metrics": ["dns"]}},
    {"hubble": {"ui": False}},
    {"fcdemo": {"image": "registry.example/demo:1"}},
    {"fcdemo": {"replicas": 2}},
    {"nodes": NODES},
]
CHANGES = [
    *((dev_with, change) for change in BOTH),
    *((control_plane_with, change) for change in BOTH),
    (dev_with, {"k3s": {"version": "v1.26.0+k3s1"}}),
    (dev_with, {"cilium": {"version": "1.13.4"}}),
    (dev_with, {"host": {**DEV["host"], "type": "g7-highmem-2"}}),
    (control_plane_with, {"password": "another"}),
    (control_plane_with, {"bgp": {"connectRetryTimeSeconds": 7}}),
    (control_plane_with, {"bgp": {"gracefulRestart": False}}),
    (control_plane_with, {"bgp": {"restartTimeSeconds": 7}}),
    (control_plane_with, {"k3s": {"version": "v1.29.0+k3s1"}}),
]


@pytest.mark.no_cover  # as in test_graph.py
@pytest.mark.parametrize(("make", "change"), CHANGES, ids=lambda its: its.__name__ if callable(its) else str(its))
def test_it_is_proven_anew_whenever_anything_before_it_changes(make: Any, change: dict[str, Any]) -> None:
    before, after = make(), make(**change)
    for name in PROVEN:
        reached = after.before(after[name]) - set(PROVEN)
        changed = [one.name for one in after if one.name in reached and differs(before, one)]
        assert changed, "a change of nothing says nothing"
        assert before[name].inputs["stdin"] != after[name].inputs["stdin"], f"{name} says nothing of {changed}"
        assert make()[name].inputs == before[name].inputs, "and is not when nothing does"


def differs(before: Graph, its: Registered) -> bool:
    return its.urn not in before.resources or before.resources[its.urn].inputs != its.inputs


def test_nobody_can_guess_a_password_from_what_it_rests_on() -> None:
    its = control_plane_with()
    words = {name: its[name].inputs["stdin"] for name in (*PROVEN, "cilium-ready", "hubble-addresses")}
    plain_words = {word for stdin in words.values() for word in plain(stdin).split()}
    assert {type(stdin) for stdin in words.values()} == {Secret}
    assert not [word for word in plain_words if BGP_PASSWORD in word]
    shown = [text for one in its for text in strings(one.inputs, secret_too=False)]
    shown += [text for out in its.registered_outputs.values() for text in strings(out, secret_too=False)]
    assert not [text for text in shown if any(word in text for word in plain_words if len(word) == 64)]


def test_it_reports_sessions_routes_and_answers() -> None:
    addresses = {name: f"10.26.23.{32 + place}" for place, name in enumerate(SERVICES)}
    report = {
        "sessions": {name: {"state": "Established", "prefixes": 1} for name in ("k3s1", "k3s2", "k3s3")},
        "upstreams": {},
        "routes": {address: ["10.26.23.11"] for address in addresses.values()},
        "http": {"default/fcdemo-service": 200},
    }
    assert dev().outputs_of("proof") == {"loadBalancerIps": addresses, "report": report}
    assert (dev().outputs["load_balancer_ips"], dev().outputs["bgp"]) == (addresses, report)
