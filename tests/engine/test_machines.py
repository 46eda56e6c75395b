"""The Linode is replaced, lost, dead, built anew: the next run makes what is missing, and sends nothing to who is gone.

The tests are one story on one stack and run in order.
"""

import pytest

from simulator import memory
from simulator.linode import INSTANCE, forget
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def machine() -> str:
    """The cloud's ID of it."""
    with memory.opened("linode") as state:
        (found,) = (id_ for id_, its in state["made"].items() if its["type"] == INSTANCE)
    return str(found)


def lose() -> None:
    with memory.opened("linode") as state:
        forget(state["made"], machine())


def firewall() -> str:
    """What the machine is behind."""
    found = behind()
    with memory.opened("linode") as state:
        return str(state["made"][found]["firewall"]) if found else "None"


def behind() -> str:
    """ID of the device by which it is behind a firewall."""
    with memory.opened("linode") as state:
        return next((id_ for id_, its in state["made"].items() if its.get("linode") == machine()), "")


def detach() -> None:
    with memory.opened("linode") as state:
        del state["made"][behind()]


def assert_whole(stack: World) -> None:
    assert stack.established()
    stack.unchanged()
    with memory.opened("kubernetes") as state:
        assert "kube-system/cilium" in state["releases"], "not deleted after it was proven"
        assert "ConfigMap/kube-system/bgp-config" in state["objects"]
    assert sorted(name for kind, _, name in stack.host.lxd.entities if kind == "instances") == ["k3s1", "k3s2", "k3s3"]


def test_a_first_up_has_a_session_with_every_node(stack: World) -> None:
    stack.up()
    assert stack.established()


def test_a_vm_taken_out_from_behind_its_firewall_is_put_back(stack: World) -> None:
    """Seen without a refresh the first time: of what it was made with there is no resource."""
    before = firewall()
    detach()
    assert stack.as_foreseen().operations == {"host-firewall-device": "create"}
    assert firewall() == before
    stack.unchanged()
    detach()
    stack.refreshed()
    assert stack.up().operations == {"host-firewall-device": "create"}


def test_rules_of_the_firewall_changed_by_hand_are_put_back(stack: World) -> None:
    with memory.opened("linode") as state:
        opened = state["made"][firewall()]["inbounds"]
        state["made"][firewall()]["inbounds"] = [opened[0] | {"ipv4s": ["0.0.0.0/0"]}]
    stack.refreshed()
    assert stack.up().operations == {"host-firewall": "update"}
    with memory.opened("linode") as state:
        assert state["made"][firewall()]["inbounds"] == opened


def test_a_deleted_firewall_is_made_again_and_a_private_address_is_not_taken(stack: World) -> None:
    before, address = firewall(), stack.outputs()["host_address"]
    with memory.opened("linode") as state:
        state["made"][machine()]["private"] = True
        forget(state["made"], before)
    stack.refreshed()
    assert stack.as_foreseen().operations == {"host-firewall": "create", "host-firewall-device": "create"}
    assert firewall() not in (before, "None")
    assert stack.outputs()["host_address"] == address


def test_another_image_makes_the_vm_anew_and_all_on_it(stack: World) -> None:
    stack.setting("host")["image"] = "linode/debian12"
    done = stack.as_foreseen()
    assert done.operations["host-firewall-device"] == "delete", "it is made behind it"
    assert firewall() != "None"
    assert {name: done.operations[name] for name in ("host-instance", "k3s2", "router-frr", "k3s2-finalizer")} == {
        "host-instance": "replace",
        "k3s2": "update",
        "router-frr": "update",
        "k3s2-finalizer": "update",
    }
    assert_whole(stack)


def test_a_lost_vm_is_made_again_and_all_on_it(stack: World) -> None:
    lose()
    assert "What is on the machine is left as it was seen last" in stack.refreshed().output
    assert stack.as_foreseen().operations["host-instance"] == "create"
    assert_whole(stack)


def test_a_lost_vm_of_an_account_with_other_interfaces_is_told_the_key(stack: World) -> None:
    lose()
    stack.refreshed()
    with memory.opened("linode") as state:
        state["account"] = "linode_only"
    stack.fails(r"host\.interfaces: legacy_config, which the account does not .* Write host\.interfaces: linode\.")
    stack.setting("host")["interfaces"] = "linode"
    assert stack.up().operations["host-instance"] == "create"
    before = firewall()
    detach()
    assert stack.up().operations == {"host-firewall-device": "create"}
    assert firewall() == before != "None"
    assert_whole(stack)


def test_a_vm_that_does_not_answer_is_replaced_and_blocks_no_other_change(stack: World) -> None:
    """A node goes in the same run: nothing of it is looked for on a machine that does not answer."""
    gone = stack.setting("nodes").pop("k3s3")
    with stack.fault(fail={f"ssh/{machine()}": "refused"}):
        done = stack.up("--replace", "**::host-instance")
    assert (done.operations["host-instance"], done.operations["k3s3"]) == ("replace", "delete")
    stack.setting("nodes")["k3s3"] = gone
    assert stack.up().operations["k3s3"] == "create"
    assert stack.established()


def test_a_vm_built_anew_in_place_is_sent_nothing_before_its_key_is_trusted(stack: World) -> None:
    """By hand, so that only its host key tells. Its new key is trusted when the user says so, not before."""
    stack.host.rebuild()
    said = "another machine answers, or somebody is between you and it. .* `pulumi up --replace '(.*::host-key)'`"
    stack.refreshed()
    assert not {"topology-pool", "k3s1"} & stack.resources()
    ran = len(stack.host.commands)
    stack.fails(said)
    assert stack.host.commands[ran:] == [], "nothing is sent to who shows another key"
    stack.up("--replace", "**::host-key")
    assert_whole(stack)


def test_a_stack_whose_vm_is_lost_is_destroyed(stack: World) -> None:
    lose()
    stack.refreshed()
    stack.destroyed()
    with memory.opened("linode") as state:
        assert state["made"] == {}
