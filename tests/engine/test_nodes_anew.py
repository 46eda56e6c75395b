"""On a machine that one has, what nodes are made of changes: those that are there stay, and one at a time is made anew
when it is asked for. At the end the machine is left as it was.

The tests are one story on one stack and run in order.
"""

import json

import pytest

from simulator import memory
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

CONFIGURATION = "Pulumi.local.yaml"  # where all is deleted one by one


def made_of(stack: World, name: str) -> tuple[str, str, str]:
    """Project, pool and image of a node."""
    (found,) = (
        (key[1], its) for key, its in stack.host.lxd.entities.items() if (key[0], key[2]) == ("instances", name)
    )
    return found[0], found[1]["devices"]["root"]["pool"], found[1]["config"]["user.pulumi.image"]


def order(stack: World) -> list[str]:
    """What the last run did, and to what, in order."""
    log = (stack.folder / f"{stack.runs}.events").read_text().splitlines()
    steps = (json.loads(line).get("resOutputsEvent", {}).get("metadata", {}) for line in log)
    return [f"{step['op']} {step['urn'].rpartition('::')[2]}" for step in steps if step]


OLD, NEW = ("default", "default", "ubuntu:22.04"), ("lab", "fast", "ubuntu:24.04")


BEFORE = set[str]()
"""What the pretend machine remembers from before."""


def test_a_host_that_will_not_do_is_told_so_and_then_gets_its_nodes(stack: World) -> None:
    with memory.opened("host") as state:
        BEFORE.update(state)
    with stack.fault(fail={"preflight.sh": "sudo: a password is required"}):
        stack.fails("host.user root has no sudo without a password; .* Allow it there: echo 'root ALL=")
    stack.up()
    assert stack.outputs()["host_address"] == "127.0.0.1"
    assert {made_of(stack, node) for node in ("k3s1", "k3s2", "k3s3")} == {OLD}


def test_another_image_pool_and_project_are_for_nodes_to_come(stack: World) -> None:
    stack.setting("lxd").update(image="ubuntu:24.04", project="lab", storagePool={"name": "fast"})
    done = stack.as_foreseen()
    changed = {"topology-project": "create", "topology-pool": "replace", "topology-bridge": "update"}
    assert done.operations == changed | {"topology-profile-k8s": "replace", "preflight-host": "update"}
    old = "lxd.image ubuntu:22.04, lxd.storagePool.name default, lxd.project default"
    said = f"k3s2 is of {old}; what is configured now is for nodes that are made from now on. nodes.k3s2.generation: 2 "
    assert said in stack.unchanged().output
    assert {made_of(stack, node) for node in ("k3s1", "k3s2", "k3s3")} == {OLD}


def test_a_node_of_another_generation_is_drained_removed_made_and_joined(stack: World) -> None:
    stack.setting("nodes")["k3s2"]["generation"] = 2
    stack.setting("nodes")["k3s3"]["generation"] = 2
    done = stack.as_foreseen()
    for node in ("k3s2", "k3s3"):
        replaced = {name: done.operations.pop(name) for name in (node, f"{node}-identity", f"{node}-finalizer")}
        assert set(replaced.values()) == {"replace"}
        again = {name: done.operations.pop(name) for name in (f"{node}-{s}" for s in ("mounts", "k3s-agent", "joined"))}
        assert set(again.values()) == {"update"}
    assert not {"k3s1", "k3s-provider", "cilium-release"} & done.operations.keys()
    steps = order(stack)
    story = [
        step
        for node in ("k3s2", "k3s3")
        for step in (
            f"delete-replaced {node}-finalizer",
            f"delete-replaced {node}",
            f"create-replacement {node}",
            f"create-replacement {node}-finalizer",
            f"update {node}-joined",
        )
    ]
    assert [step for step in steps if step in story] == story, "and one after the other"
    assert stack.established()
    assert (made_of(stack, "k3s2"), made_of(stack, "k3s1")) == (NEW, OLD)
    assert "k3s2 is of" not in done.output


def test_another_address_is_another_node(stack: World) -> None:
    stack.setting("nodes")["k3s3"]["address"] = "10.26.23.23"
    done = stack.as_foreseen()
    assert (done.operations["k3s3"], done.operations["k3s3-finalizer"]) == ("replace", "replace")
    session = stack.outputs()["bgp"]["sessions"]["k3s3"]
    assert (session["address"], session["state"]) == ("10.26.23.23", "Established")
    stack.unchanged()


def test_an_image_with_another_login_user_is_for_nodes_to_come(stack: World) -> None:
    stack.host.lxd.add("images", "debian-12", {})
    stack.setting("lxd").update(image="local:debian-12", loginUser="debian")
    stack.as_foreseen()
    old = "k3s2 is of lxd.image ubuntu:24.04, lxd.loginUser ubuntu; what is configured now"
    assert old in stack.pulumi("preview").output
    stack.setting("nodes")["k3s2"]["generation"] = 3
    done = stack.as_foreseen()
    assert done.operations["k3s2"] == "replace"
    assert {"k3s1", "k3s3"}.isdisjoint(done.operations)
    lines = stack.outputs()["ssh_commands"]
    users = [lines[node].rpartition(" ")[2].partition("@")[0] for node in ("k3s1", "k3s2", "k3s3")]
    assert users == ["ubuntu", "debian", "ubuntu"]
    stack.unchanged()


def test_what_the_nodes_cannot_bear_is_refused_before_anything_is_done(stack: World) -> None:
    stack.setting("nodes")["k3s2"]["address"] = "10.26.23.22"
    stack.setting("nodes")["k3s3"]["address"] = "10.26.23.24"
    refused = stack.pulumi("preview")
    assert refused.code != 0
    assert "has another address and would be made anew at the same time as" in refused.output
    stack.setting("nodes")["k3s2"]["address"], stack.setting("nodes")["k3s3"]["address"] = "10.26.23.12", "10.26.23.23"

    stack.setting("lxd")["bridge"]["address"] = "10.26.23.2/24"
    refused = stack.pulumi("preview")
    assert refused.code != 0
    assert "ipv4.address 10.26.23.1/24 of lxdbr0 cannot become 10.26.23.2/24 under the instances" in refused.output
    stack.setting("lxd")["bridge"]["address"] = "10.26.23.1/24"


def test_the_machine_is_left_as_it_was(stack: World) -> None:
    assert ("storage-pools", "", "default") in stack.host.lxd.entities, "it goes with the last that uses it"
    with stack.fault(hang=["Release/kube-system/cilium"]):  # it dies with its cluster: nothing to be cut off in
        stack.destroyed()
    somebodys = {("images", "default", "debian-12")}
    assert set(stack.host.lxd.entities) == {("projects", "", "default"), ("profiles", "default", "default")} | somebodys
    with memory.opened("host") as state:
        left = {name: value for name, value in state.items() if name not in BEFORE and value}
    assert left == {"lxd": True}  # LXD itself stays installed
    assert stack.leaked() == []
