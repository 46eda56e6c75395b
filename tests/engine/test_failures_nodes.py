"""Failures on host and nodes, each met by a change of the configuration; the next good run converges.

The tests are one story on one stack and run in order.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from simulator import memory
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def test_up(stack: World) -> None:
    stack.up()
    assert stack.established()


def faults(**kinds: Any) -> Callable[[World], AbstractContextManager[None]]:
    return lambda stack: stack.fault(**kinds)


def no_address(stack: World) -> AbstractContextManager[None]:
    with memory.opened("kubernetes") as state:
        del state["objects"]["Service/default/fcdemo-service"]["status"]
    return stack.fault(hang=["Service/default/fcdemo-service"])


def holding(stack: World, seconds: int) -> None:
    stack.setting("bgp")["holdTimeSeconds"] = seconds


def k3s(stack: World, version: str) -> None:
    stack.setting("k3s")["version"] = version


def fourth(stack: World, name: str) -> None:
    stack.setting("nodes")[name] = {"role": "agent", "address": f"10.26.23.{10 + int(name[3:])}"}


FAILURES = [
    pytest.param(
        faults(fail={"installer": ""}),
        k3s,
        "v1.26.0+k3s1",
        r"k3s v1\.26\.0\+k3s1: the installer from https://get\.k3s\.io failed",
        id="installer fails",
    ),
    pytest.param(
        faults(hang=["k3s4/unit"]),
        fourth,
        "k3s4",
        "k3s-agent on k3s4 active: not within 600 s; last seen: activating",
        id="join never completes",
    ),
    pytest.param(
        faults(hang=["k3s5/join"]),
        fourth,
        "k3s5",
        r"node k3s5 in the cluster: not within 600 s; last seen: .*NotFound",
        id="node never registers",
    ),
    pytest.param(
        faults(hang=["k3s2/session"]),
        holding,
        69,
        r"a route to 10\.42\.\d\.0/24, the pods of 10\.26\.23\.12: not within 300 s; last seen: BGP state = Active",
        id="session never establishes",
    ),
    pytest.param(
        no_address,
        holding,
        72,
        r"default/fcdemo-service: no address yet; 3 of the 32 addresses",
        id="address never comes",
    ),
    pytest.param(
        faults(hang=["frr.sh"]), holding, 75, r"frr\.sh: stopped by its time limit", id="a script hangs for ever"
    ),
]


@pytest.mark.parametrize(("wrong", "change", "value", "said"), FAILURES)
def test_failure(
    stack: World,
    wrong: Callable[[World], AbstractContextManager[None]],
    change: Callable[[World, Any], None],
    value: Any,
    said: str,
) -> None:
    change(stack, value)
    stack.fails_and_heals(wrong(stack), said)
    assert stack.established()
