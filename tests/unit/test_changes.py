"""What a reviewer reads first of a preview, from the events that the engine logs."""

import json
from typing import Any

import pytest

from scripts.changes import summary

VM, NODE = "linode:index/instance:Instance", "pulumi-python:dynamic/lxd:Instance"
RELEASE, COMMAND = "kubernetes:helm.sh/v3:Release", "command:remote:Command"
REPLACED = ("delete-replaced", "replace", "create-replacement")


def event(
    type_: str, name: str, operation: str, before: str | None = None, after: str | None = None, *diffs: str
) -> dict[str, Any]:
    return {
        "resourcePreEvent": {
            "metadata": {
                "op": operation,
                "urn": f"urn:pulumi:dev::cilium-bgp::{type_}::{name}",
                "type": type_,
                "old": {"inputs": {"type": before}} if operation != "create" else None,
                "new": {"inputs": {"type": after}} if "delete" not in operation else None,
                "diffs": list(diffs) or None,
            }
        }
    }


def said(*events: dict[str, Any]) -> list[str]:
    others: list[dict[str, Any]] = [
        {"preludeEvent": {}},
        event("pulumi:pulumi:Stack", "cilium-bgp-dev", "update"),
        event("cilium-bgp:index:Cilium", "cilium", "create"),
        event(COMMAND, "k3s1-joined", "same"),
        event(COMMAND, "k3s1-joined", "refresh"),
    ]
    return summary("\n".join(map(json.dumps, [*others, *events]))).splitlines()


def test_a_change_of_nothing_is_told_in_two_words() -> None:
    assert said() == ["Nothing changes."]


def test_it_tells_what_changes_of_which_kind_and_by_which_name() -> None:
    assert said(
        event(COMMAND, "k3s1-mounts", "update"),
        event(COMMAND, "k3s2-mounts", "update"),
        event("kubernetes:core/v1:Service", "fcdemo-service", "create"),
        event(COMMAND, "pods-router", "delete"),
    ) == [
        "1 created (Service), 2 changed (2 Command), 0 replaced, 1 deleted (Command). Nodes and VMs: none. "
        "Traffic: goes on.",
        "created: fcdemo-service",
        "changed: k3s1-mounts, k3s2-mounts",
        "deleted: pods-router",
    ]


def test_a_node_that_is_replaced_counts_once() -> None:
    first, *_ = said(*(event(NODE, "k3s2", operation) for operation in REPLACED))
    assert first == (
        "0 created, 0 changed, 1 replaced (node), 0 deleted. Nodes and VMs: k3s2 replaced. "
        "Traffic: may stop for what runs on k3s2, until its routes and pods are elsewhere (hold time)."
    )


@pytest.mark.parametrize(
    ("step", "stops"),
    [
        (event(VM, "host-instance", "delete"), "for minutes, as host-instance is made anew or goes"),
        (event(VM, "host-instance", "update", "a", "b", "type"), "for minutes, as host-instance restarts"),
        (event(VM, "host-instance", "update", "a", "a", "tags"), None),
        (event(RELEASE, "cilium-release", "update"), "for seconds on each node, as cilium-release starts its agents"),
        (event(RELEASE, "cilium-release", "delete"), "for minutes, as cilium-release goes"),
        (event(COMMAND, "router-frr", "update"), "for seconds, if the sessions' settings are others"),
        (event("kubernetes:core/v1:Service", "fcdemo-service", "delete"), "for fcdemo-service"),
        (event("linode:index/firewall:Firewall", "host-firewall", "replace"), "from outside, while host-firewall"),
        (event(NODE, "k3s4", "create"), None),
    ],
)
def test_it_tells_whether_traffic_stops(step: dict[str, Any], stops: str | None) -> None:
    traffic = said(step)[0].partition("Traffic: ")[2]
    assert traffic.startswith(f"may stop {stops}" if stops else "goes on.")


@pytest.mark.parametrize(
    ("step", "cost"),
    [
        (event(VM, "host", "create", None, "g7-highmem-1"), "Cost: 0 dollars a month before, 60 after"),
        (event(VM, "host", "update", "g7-highmem-1", "g6-standard-2"), "Cost: 60 dollars a month before, 24 after"),
        (event(VM, "host", "same", "g7-highmem-1", "g7-highmem-1"), "Cost: 60 dollars a month, as before"),
        (event(VM, "host", "delete", "g7-highmem-1", None), "Cost: 60 dollars a month before, 0 after"),
        (event(VM, "host", "create", None, "g9-new"), "Cost: not known of g9-new (policy/prices.py)."),
    ],
)
def test_it_tells_the_cost_before_and_after(step: dict[str, Any], cost: str) -> None:
    assert said(step)[1].startswith(cost)
