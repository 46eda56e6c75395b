"""A stack's life: up, unchanged, every change that people make with exactly its operations, destroy.

The tests are one story and run in order.
"""

import re
from itertools import pairwise

import pytest

from scripts import graph
from scripts.demo import ADDRESS
from scripts.preview import PREFIX
from simulator import memory
from tests.engine.world import CANARIES, World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

CHECKS = {"cilium-ready", "pods-ranges", "pods-router", "hubble-addresses", "proof-addresses", "proof-routes"}


def updates(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "update")


def of_node(name: str) -> set[str]:
    return {
        name,
        *(f"{name}-{part}" for part in ("identity", "finalizer", "mounts", "forgotten", "k3s-agent", "joined")),
    }


def test_a_first_up_gives_every_service_its_address_and_every_node_a_session(stack: World) -> None:
    done = stack.up()
    assert set(done.operations.values()) == {"create"}
    outputs = stack.outputs()
    assert outputs["host_address"] == ADDRESS
    assert outputs["load_balancer_ips"] == {
        "kube-system/traefik": "10.26.23.32",
        "kube-system/hubble-relay": "10.26.23.33",
        "kube-system/hubble-ui": "10.26.23.34",
        "default/fcdemo-service": "10.26.23.35",
    }
    assert {its["state"] for its in outputs["bgp"]["sessions"].values()} == {"Established"}


def test_the_readme_shows_this_graph(stack: World) -> None:
    assert graph.flowchart({"deployment": {"resources": stack.state()}}) in graph.README.read_text()


def test_nothing_changes_by_itself(stack: World) -> None:
    stack.unchanged()
    done = stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    assert done.code == 0, done.output


def test_a_restart_of_the_host_is_proven_anew(stack: World) -> None:
    with memory.opened("host") as state:
        state["boot"] = "second start"
    assert stack.up("--refresh").operations == updates("proof-addresses", "proof-routes")
    with memory.opened("host") as state:
        del state["boot"]


def test_other_replicas_and_another_size_of_the_host_change_nothing_else(stack: World) -> None:
    stack.setting("fcdemo")["replicas"] = 2
    stack.setting("host")["type"] = "g7-highmem-2"
    assert stack.up().operations == updates("fcdemo-deployment", "host-instance", "proof-addresses", "proof-routes")


def test_a_password_of_ones_own_takes_the_place_of_the_stacks(stack: World) -> None:
    stack.secrets[f"{PREFIX}bgpPassword"] = CANARIES["bgpPassword"]
    changed = updates("router-frr", "cilium-bgp-config", "cilium-release", *CHECKS)
    assert stack.up().operations == {"router-password": "delete"} | changed


def test_another_pool_gives_every_service_another_address(stack: World) -> None:
    stack.setting("bgp")["pool"] = "10.26.23.64/27"
    changed = updates(
        "preflight-host", "topology-bridge", "router-frr", "cilium-bgp-config", "cilium-release", *CHECKS
    )  # DHCP evades it
    assert stack.up().operations == changed
    assert stack.outputs()["load_balancer_ips"]["kube-system/traefik"] == "10.26.23.64"


def test_the_ways_in_go_from_ngrok_to_forwarded_ports(stack: World) -> None:
    stack.config["cilium-bgp:exposure"] = {"mode": "ngrok"}
    ngrok = ("exposure-ngrok", "exposure-ngrok-finalizer")
    assert stack.up().operations == dict.fromkeys(ngrok, "create") | {"exposure-urls": "create"}
    stack.config["cilium-bgp:exposure"] = {
        "mode": "forward",
        "cidrs": ["203.0.113.0/24"],
        "forwards": [{"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080}],
    }
    done = stack.up()
    assert done.operations == {
        "host-firewall": "update",
        **dict.fromkeys(ngrok, "delete"),
        "exposure-forward": "create",
        "exposure-urls": "update",
    }
    assert stack.outputs()["urls"] == {"default/fcdemo-service": f"http://{ADDRESS}:8080"}


def test_k3s_is_upgraded_node_by_node_and_servers_first(stack: World) -> None:
    stack.setting("k3s")["version"] = "v1.26.0+k3s1"
    stack.setting("cilium")["version"] = "1.13.4"
    installed = {"k3s1-k3s-server", "k3s2-k3s-agent", "k3s3-k3s-agent"}
    k3s = updates(*installed, *(f"k3s{number}-joined" for number in (1, 2, 3)), "k3s-running")
    ran = len(stack.host.commands)
    assert stack.up().operations == k3s | updates("cilium-release", "cilium-running", *CHECKS, "exposure-urls")
    turns = [
        step for line in stack.host.commands[ran:] for step in re.findall(r"node_aside.sh (\w+) 10.26.23.1(\d)", line)
    ]
    began = [place for place, (way, _) in enumerate(turns) if way == "leave"]
    assert len(began) == 3
    assert turns[0] == ("leave", "1"), "servers first"
    for place, following in pairwise(began):
        assert ("return", turns[place][1]) in turns[place:following], "one at a time"


def test_a_node_comes_and_another_goes_and_no_third_is_touched(stack: World) -> None:
    stack.setting("nodes")["k3s4"] = {"role": "agent", "address": "10.26.23.14"}
    del stack.setting("nodes")["k3s2"]
    its_own = dict.fromkeys(of_node("k3s4"), "create") | dict.fromkeys(of_node("k3s2"), "delete")
    assert stack.up().operations == its_own | updates(
        "preflight-host", "firewall-rules", "router-frr", *CHECKS, "exposure-urls"
    )
    assert stack.outputs()["bgp"]["sessions"]["k3s4"]["state"] == "Established"
    assert sorted(name for kind, _, name in stack.host.lxd.entities if kind == "instances") == ["k3s1", "k3s3", "k3s4"]


def test_destroy_leaves_nothing(stack: World) -> None:
    stack.unchanged()
    stack.destroyed()
    with memory.opened("linode") as state:
        assert state["made"] == {}
    assert not stack.host.settle()
    assert set(stack.host.lxd.entities) == {("projects", "", "default"), ("profiles", "default", "default")}
    with memory.opened("host") as state:
        assert state == {}
    assert stack.leaked() == []
