"""Cilium's BGP Control Plane through what people change about it; each `up` ends with what it claims.

The tests are one story on one stack and run in order.
"""

from collections.abc import Iterator

import pytest

from simulator import memory
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

PROVEN = dict.fromkeys(("proof-addresses", "proof-routes"), "update")
AWAITED = dict.fromkeys(("cilium-ready", "pods-ranges", "pods-router", "hubble-addresses"), "update")
KINDS = ("loadbalancerippool", "bgpadvertisement", "bgppeerconfig", "bgpclusterconfig")
OBJECTS = dict.fromkeys((f"cilium-cilium{kind}" for kind in KINDS), "update")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as monkeypatch, World(folder, monkeypatch, "Pulumi.local.yaml") as stack:
        stack.setting("bgp").update(mode="control-plane")
        stack.setting("k3s")["version"] = "v1.30.2+k3s1"
        stack.setting("cilium")["version"] = "1.16.19"
        yield stack


def objects() -> dict[str, str]:
    """API version of each object that makes Cilium announce, by its kind."""
    with memory.opened("kubernetes") as state:
        return {
            its["kind"]: its["apiVersion"]
            for its in state["objects"].values()
            if its["apiVersion"].startswith("cilium.io/")
        }


def test_a_first_up_holds_by_the_control_plane(stack: World) -> None:
    stack.up()
    assert stack.holds()
    assert set(objects().values()) == {"cilium.io/v2alpha1"}


def test_the_mode_goes_to_the_config_map_and_back(stack: World) -> None:
    stack.setting("bgp")["mode"] = "configmap"
    assert stack.up().operations.items() >= dict.fromkeys(OBJECTS, "delete").items()
    assert objects() == {}
    assert stack.holds()
    stack.setting("bgp")["mode"] = "control-plane"
    assert stack.up().operations["cilium-bgp-config"] == "delete"
    assert stack.holds()


def test_a_password_of_ones_own_is_proven_even_after_a_run_that_failed(stack: World) -> None:
    stack.secret("bgpPassword", "canary-bgp-77aa")
    with stack.fault(hang=["k3s2/session"]):
        stack.fails(r"the pods of 10\.26\.23\.12: not within \d+ s; last seen: BGP state = Active")
    assert stack.up().operations == {"pods-router": "update", **PROVEN, "router-password": "delete"}
    assert stack.holds()


def test_a_release_that_the_state_does_not_know_is_taken_over(stack: World) -> None:
    (release,) = (its for its in stack.state() if its["urn"].endswith("::cilium-release"))
    forgotten = stack.pulumi("state", "delete", "--yes", "--force", "--target-dependents", release["urn"])
    assert forgotten.code == 0, forgotten.output
    operations = stack.up().operations
    assert {"cilium-release", *OBJECTS, "fcdemo-service"} <= operations.keys()
    assert set(operations.values()) == {"create"}, operations
    assert stack.holds()


def test_another_cilium_touches_nothing_but_its_release(stack: World) -> None:
    stack.setting("cilium")["version"] = "1.17.5"
    same_version = dict.fromkeys(("cilium-release", "cilium-crds", "cilium-running"), "update") | AWAITED | PROVEN
    assert stack.up().operations == same_version
    assert stack.holds()


def test_another_cilium_with_another_api_version_replaces_no_object(stack: World) -> None:
    stack.setting("cilium")["version"] = "1.18.12"
    changed = dict.fromkeys(("cilium-release", "cilium-crds", "cilium-running"), "update") | OBJECTS | AWAITED | PROVEN
    assert stack.up().operations == changed
    assert objects() == dict.fromkeys(objects(), "cilium.io/v2")
    assert len(objects()) == len(KINDS)
    assert stack.holds()
    stack.unchanged()


def test_the_only_server_made_anew_begins_a_cluster_that_is_proven(stack: World) -> None:
    """And with it the cluster: what was awaited in the former one is awaited again."""
    stack.setting("nodes")["k3s1"]["generation"] = 2
    operations = stack.up().operations
    assert {operations[name] for name in ("k3s1", "cilium-release", *OBJECTS)} == {"replace"}
    assert {"k3s2", "k3s3", "host-instance"}.isdisjoint(operations)
    assert {operations[name] for name in ("k3s2-joined", "k3s3-joined", "cilium-crds")} == {"update"}
    assert stack.holds()
    stack.unchanged()
