"""Failures on the way to host and nodes, and on them.

Each ends with a message that names what to do. What it has left undone the next run does, without manual work: none of
the runs here gets to its own failure before it has made good the one before.

The tests are one story on one stack and run in order.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from simulator import memory
from simulator.host import new_key
from tests.engine.world import World, kill, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


@pytest.mark.parametrize("step", ["Instance::k3s2", "Command::k3s1-k3s-server", "Release::cilium-release"])
def test_an_engine_that_is_killed_leaves_no_secret_and_a_state_that_can_be_read(stack: World, step: str) -> None:
    done = stack.pulumi("up", "--yes", "--skip-preview", at=step, do=kill)
    assert done.code == -9, done.output
    assert stack.leaked() == []
    assert not list((stack.folder / "state").rglob("*.attrs"))  # would be cut off some time; see scripts.backend
    stack.pulumi("cancel", "--yes")  # the file backend's own lock; Pulumi says so


def test_the_up_after_kills_converges(stack: World) -> None:
    stack.up()
    assert stack.established()


# Failures that a change of the configuration meets: what is wrong, the change, and what is said.


def faults(**kinds: Any) -> Callable[[World], AbstractContextManager[None]]:
    return lambda stack: stack.fault(**kinds)


def silent(stack: World) -> AbstractContextManager[None]:
    @contextmanager
    def silence() -> Iterator[None]:
        file = memory.file_of("faults").with_name("silence")
        file.touch()
        yield
        file.unlink()

    return silence()


def another_host_key(stack: World) -> AbstractContextManager[None]:
    @contextmanager
    def changed() -> Iterator[None]:
        with memory.opened("host") as state:
            known, state["host_key"] = state["host_key"], new_key()
        yield
        with memory.opened("host") as state:
            state["host_key"] = known

    return changed()


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
        faults(fail={"ssh": "refused"}),
        holding,
        60,
        "after 8 failed attempts: (ssh: handshake failed|dial tcp .*reset)",
        id="ssh refused",
    ),
    pytest.param(silent, holding, 63, r"dial tcp 203\.0\.113\.10:22: timed out", id="ssh silent"),
    pytest.param(another_host_key, holding, 66, "host key mismatch", id="host key changed"),
    pytest.param(
        faults(fail={"installer": ""}),
        k3s,
        "v1.26.0+k3s1",
        r"k3s v1\.26\.0\+k3s1: the installer from https://raw\.githubusercontent\.com/\S+ failed",
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
def test_a_failure_is_told_with_its_reason(
    stack: World,
    wrong: Callable[[World], AbstractContextManager[None]],
    change: Callable[[World, Any], None],
    value: Any,
    said: str,
) -> None:
    change(stack, value)
    with wrong(stack):
        stack.fails(said)


def test_the_up_after_failures_converges(stack: World) -> None:
    stack.up()
    assert stack.established()
    stack.unchanged()
