"""Servers come, go and are lost in any order of names: the cluster stays the same one.

The tests are one story on one stack and run in order.
"""

import pytest

from simulator import memory
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

PARTS = ("identity", "finalizer", "mounts", "forgotten", "k3s-server", "joined")
MARKER = "ConfigMap/default/marker"


def servers(stack: World, *names: str) -> None:
    """These servers, and one agent."""
    nodes = {name: {"role": "server", "address": f"10.26.23.1{name[-1]}"} for name in names}
    stack.config["cilium-bgp:nodes"] = nodes | {"k3s9": {"role": "agent", "address": "10.26.23.19"}}


def members() -> list[str]:
    """Of etcd, and all of them alive."""
    with memory.opened("host") as state:
        its = state["cluster"]["members"]
        assert set(its.values()) <= state["nodes"].keys()
        return sorted(its)


def lose(stack: World, *nodes: str) -> None:
    for node in nodes:
        del stack.host.lxd.entities["instances", "default", node]
    stack.host.lxd.save()


def the_same_cluster() -> bool:
    with memory.opened("kubernetes") as state:
        return MARKER in state["objects"]


def test_one_server_makes_a_cluster(stack: World) -> None:
    servers(stack, "k3s5")
    stack.up()
    assert stack.established()
    with memory.opened("kubernetes") as state:
        marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "marker"}}
        state["objects"][MARKER] = marker


def test_two_more_that_sort_before_it_join_it_and_touch_nothing_else(stack: World) -> None:
    servers(stack, "k3s1", "k3s5", "k3s7")
    done = stack.up()
    assert {name for name, did in done.operations.items() if did == "create"} == {
        *("k3s1", "k3s7"),
        *(f"{name}-{part}" for name in ("k3s1", "k3s7") for part in PARTS),
    }
    assert not {name for name in done.operations if name.startswith(("k3s5", "k3s9", "k3s-kube", "k3s-prov", "fcdemo"))}
    assert members() == ["k3s1", "k3s5", "k3s7"]
    assert the_same_cluster()


def test_a_server_that_is_lost_is_made_anew_and_joins_the_one_that_started_included(stack: World) -> None:
    for node in ("k3s5", "k3s1"):
        lose(stack, node)
        assert stack.up("--refresh").operations[node] == "create"
        assert members() == ["k3s1", "k3s5", "k3s7"]
        assert the_same_cluster()
        assert stack.established()
    stack.unchanged()


def test_back_to_one_that_has_not_started_it(stack: World) -> None:
    servers(stack, "k3s7")
    stack.up()
    assert members() == ["k3s7"]
    assert the_same_cluster()


def test_what_a_running_cluster_cannot_bear_is_refused_in_the_preview(stack: World) -> None:
    before = dict(stack.setting("k3s"))
    stack.setting("k3s").update(version="v1.24.17+k3s1", clusterCidr="10.44.0.0/16", serviceCidr="10.45.0.0/16")
    done = stack.pulumi("preview")
    assert done.code != 0
    assert "k3s.version: v1.25.6+k3s1 runs, and v1.24.17+k3s1 is older" in done.output
    assert "k3s.clusterCidr: the cluster has 10.42.0.0/16" in done.output
    assert "k3s.serviceCidr: the cluster has 10.43.0.0/16" in done.output
    stack.config["cilium-bgp:k3s"] = before
    stack.unchanged()


@pytest.mark.parametrize("lost", [["k3s7"], ["k3s7", "k3s9"]])
def test_with_the_last_server_the_cluster_is_lost_and_the_next_run_makes_another(stack: World, lost: list[str]) -> None:
    lose(stack, *lost)
    stack.up("--refresh")
    assert members() == ["k3s7"]
    assert not the_same_cluster()
    assert stack.established()
    stack.unchanged()
