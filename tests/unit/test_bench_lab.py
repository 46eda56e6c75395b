"""What the engine's event log says of a first `up`; the runs themselves are `make bench-lab`."""

from typing import Any

from scripts.bench_lab import critical, gantt, spans


def event(kind: str, name: str, at: int, op: str = "create", type_: str = "command:remote:Command") -> dict[str, Any]:
    urn = f"urn:pulumi:lab::cilium-bgp::{type_}::{name}"
    return {"timestamp": 1_700_000_000 + at, kind: {"metadata": {"op": op, "urn": urn, "type": type_}}}


def log(name: str, start: int, end: int) -> list[dict[str, Any]]:
    return [event("resourcePreEvent", name, start), event("resOutputsEvent", name, end)]


EVENTS = [
    {"timestamp": 1_700_000_000, "preludeEvent": {}},
    *log("k3s1", 2, 12),
    *log("k3s1-k3s-server", 12, 32),
    *log("k3s2-k3s-agent", 32, 36),
    *log("k3s3-k3s-agent", 32, 41),
    *log("k3s2-joined", 41, 42),
    event("resourcePreEvent", "cilium", 0, type_="cilium-bgp:index:Cilium"),
    event("resOutputsEvent", "kept", 3, op="same"),
    *log("cilium-ready", 42, 50),
    *log("proof-routes", 50, 53),
    *log("lxd-kernel", 0, 1),
]


def test_a_span_is_of_a_resource_that_was_made_and_begins_with_the_log() -> None:
    its = spans(EVENTS)
    assert its["k3s1"] == (2, 12)
    assert {"cilium", "kept"} & its.keys() == set()


def test_of_what_waits_for_the_same_the_slowest_counts() -> None:
    assert critical(spans(EVENTS)) == {
        "container start": 10,
        "installer": 20,
        "join": 10,
        "agent ready": 8,
        "BGP": 3,
    }


def test_the_timeline_shows_what_took_a_while_and_what_cannot_be_avoided() -> None:
    lines = gantt(spans(EVENTS)).splitlines()
    assert "  k3s1 :crit, 2, 12" in lines
    assert not [line for line in lines if "lxd-kernel" in line]
