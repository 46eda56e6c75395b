"""The components as programs in other languages get them."""

from typing import Any

import pulumi
import pytest

from provider.bgp_router import BgpRouter
from provider.lxd_topology import LxdTopology
from settings import ConfigurationError
from tests.unit.graph import CANARIES, EXISTING, SSH_KEY, Graph, plain, registered, strings

SSH: Any = {"host": "192.0.2.10", "host_key": EXISTING["hostKey"], "private_key": SSH_KEY}
ROUTER: Any = {
    **SSH,
    "bridge": "eth1",
    "address": "10.99.0.1",
    "asn": 64512,
    "node_asn": 64513,
    "nodes": ["10.99.0.11"],
    "pool": "10.99.1.0/24",
}
TOPOLOGY: Any = {
    **SSH,
    "bridge": "peers0",
    "bridge_address": "10.99.0.1/24",
    "dhcp_range": "10.99.0.100-10.99.0.199",
    "instances": {"peer1": {"address": "10.99.0.11"}},
    "authorized_keys": [EXISTING["hostKey"]],
}


def made(**changes: Any) -> Graph:
    def program() -> None:
        LxdTopology("topology", TOPOLOGY | changes)
        BgpRouter("router", ROUTER | changes)

    return registered(program)


def test_a_private_key_that_the_program_did_not_mark_is_secret_all_the_same() -> None:
    graph = made()
    seen = [text for its in graph for text in strings(its.inputs, secret_too=False)]
    seen += [text for outputs in graph.registered_outputs.values() for text in strings(outputs, secret_too=False)]
    assert "peers0" in seen
    assert [text for text in seen if any(canary in text for canary in CANARIES)] == []
    assert SSH_KEY in strings(graph["router-frr"].inputs, secret_too=True)


@pytest.mark.parametrize(
    ("given", "user", "port"), [({}, "root", 22), ({"user": "admin", "port": 2222}, "admin", 2222)]
)
def test_every_step_dials_as_the_program_says(given: dict[str, Any], user: str, port: int) -> None:
    commands = [plain(its.inputs["connection"]) for its in made(**given) if its.type == "command:remote:Command"]
    assert len(commands) == 4
    assert {(its["user"], its["port"], its["hostKey"]) for its in commands} == {(user, port, SSH["host_key"])}


def test_router_without_more_has_the_usual_times_and_a_password_of_its_own() -> None:
    conf = plain(made()["router-frr"].inputs["stdin"]).splitlines()
    assert " neighbor NODES timers 30 90" in conf
    assert "router-password" in made().children("router")
    assert not [line for line in conf if "stalepath" in line]


def test_instances_let_in_who_is_named_and_the_host() -> None:
    (files,) = (its.inputs["files"] for its in made() if its.type == "pulumi-python:dynamic/lxd:Instance")
    assert plain(files)["~/.ssh/authorized_keys"] == f"{EXISTING['hostKey']}\nssh-ed25519 AAAAmade-on-the-host\n"


def test_peers_may_be_machines_that_the_same_program_makes() -> None:
    def program() -> None:
        peer = pulumi.Output.from_input("10.99.0.12")
        BgpRouter("router", ROUTER | {"nodes": ["10.99.0.11", peer], "pool": pulumi.Output.from_input("10.99.2.0/24")})

    conf = plain(registered(program)["router-frr"].inputs["stdin"]).splitlines()
    assert "ip prefix-list NODE-10.99.0.12 seq 10 permit 10.99.2.0/24 ge 32 le 32" in conf


def test_what_cannot_work_is_said_before_anything_is_made() -> None:
    def program() -> None:
        with pytest.raises(ConfigurationError) as raised:
            LxdTopology(
                "topology", TOPOLOGY | {"bridge_address": "10.99.0.1", "instances": {"peer1": {"address": "x"}}}
            )
        said.extend(raised.value.problems)
        with pytest.raises(ConfigurationError) as raised:
            BgpRouter("router", ROUTER | {"pool": "10.99.1.7/24", "asn": 0, "nodes": ["10.99.0.11", "10.99.0"]})
        said.extend(raised.value.problems)

    said: list[str] = []
    assert list(registered(program)) == []
    assert [problem.partition(": ")[0] for problem in said] == [
        "bridgeAddress",
        "instances.peer1.address",
        "asn",
        "nodes.1",
        "pool",
    ]
    assert said[-1].endswith(
        "its network would be 10.99.1.0/24. Cilium would hand out addresses you did not mean. Write 10.99.1.0/24."
    )
