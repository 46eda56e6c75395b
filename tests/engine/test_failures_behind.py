"""Failures of what is behind the host: Kubernetes, LXD, a provider, the machine itself. The next good run heals them.

The tests are one story on one stack and run in order.
"""

import pytest

from simulator import memory
from simulator.kubernetes import PretendKubernetes
from standin.serve import serve
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def test_a_first_up_has_a_session_with_every_node(stack: World) -> None:
    stack.up()
    assert stack.established()


def test_a_full_pool_is_told_with_how_many_addresses_are_in_use(stack: World) -> None:
    with memory.opened("kubernetes") as state:
        elder = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "other", "name": "elder"}}
        state["objects"] = {"Service/other/elder": elder | {"spec": {"type": "LoadBalancer"}}, **state["objects"]}
    before = stack.setting("bgp")["pool"]
    stack.setting("bgp")["pool"] = "10.26.23.64/30"
    stack.fails("no address yet; 4 of the 4 addresses of 10.26.23.64/30 are in use")
    with memory.opened("kubernetes") as state:
        del state["objects"]["Service/other/elder"]
    stack.setting("bgp")["pool"] = before


def test_somebody_elses_object_is_refused_and_left_as_it_is(stack: World) -> None:
    demo = stack.setting("fcdemo")
    demo["enabled"] = False
    stack.up()
    assert stack.established()
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "fcdemo-service"}}
    theirs |= {"spec": {"type": "ClusterIP"}}
    with memory.opened("kubernetes") as state:
        state["objects"]["Service/default/fcdemo-service"] = theirs
    demo["enabled"] = True
    stack.fails("Service fcdemo-service in namespace default is there already and is not the stack's")
    with memory.opened("kubernetes") as state:
        assert state["objects"].pop("Service/default/fcdemo-service") == theirs


def test_a_release_that_was_left_pending_is_upgraded(stack: World) -> None:
    with memory.opened("kubernetes") as state:
        release = state["releases"]["kube-system/cilium"]
        release["info"]["status"], release["version"] = "pending-upgrade", release["version"] + 1
    stack.setting("cilium")["version"] = "1.13.4"
    operations = stack.up().operations
    assert (operations["cilium-release"], operations["fcdemo-service"]) == ("update", "create")
    assert stack.established()


def test_what_lxd_fails_after_the_work_is_right_after_the_next_up(stack: World) -> None:
    stack.host.lxd.fail("PUT", "networks/*", "refuse-after")
    stack.setting("lxd")["bridge"] |= {"dhcpRange": "10.26.23.200-10.26.23.210"}
    stack.fails("cannot update network lxdbr0 at 203.0.113.10: pretended failure after the work")
    assert stack.up().operations == {"topology-bridge": "update"}


def test_a_provider_that_dies_tells_no_secret_and_the_next_up_converges(stack: World) -> None:
    def die(engine: int) -> None:
        stack.served["kubernetes"][1]()

    stack.setting("fcdemo")["replicas"] = 3
    with stack.fault(hang=["Deployment/default/fcdemo3"]):
        done = stack.pulumi("up", "--yes", "--skip-preview", at="Deployment::fcdemo-deployment", do=die)
    assert done.code != 0
    assert stack.leaked() == []
    stack.served["kubernetes"] = serve(PretendKubernetes)
    stack.up()


def test_an_instance_deleted_behind_our_back_is_made_again(stack: World) -> None:
    for node in ("k3s2", "k3s1"):
        del stack.host.lxd.entities["instances", "default", node]
        stack.host.lxd.save()
        assert stack.up("--refresh").operations[node] == "create"
        assert stack.established()
    stack.unchanged()


def test_a_stack_whose_host_is_gone_is_destroyed(stack: World) -> None:
    with memory.opened("linode") as state:
        state["made"] = {id_: its for id_, its in state["made"].items() if "firewall" in its["type"]}
    stack.destroyed()
    assert stack.leaked() == []
