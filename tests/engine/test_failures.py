"""Failures on the way to host and nodes.

Each ends with a message that names what to do, and the next good run converges without manual work.

The tests are one story on one stack and run in order.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from simulator import memory
from simulator.host import new_key
from tests.engine.world import World, kill, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


@pytest.mark.parametrize("step", ["Instance::k3s2", "Command::k3s1-k3s-server", "Release::cilium-release"])
def test_engine_killed(stack: World, step: str) -> None:
    done = stack.pulumi("up", "--yes", "--skip-preview", at=step, do=kill)
    assert done.code == -9, done.output
    assert stack.leaked() == []
    assert not list((stack.folder / "state").rglob("*.attrs"))  # would be cut off some time; see scripts.backend
    stack.pulumi("cancel", "--yes")  # the file backend's own lock; Pulumi says so


def test_up_after_kills(stack: World) -> None:
    stack.up()
    assert stack.established()
    stack.unchanged()


# Failures that a change of the configuration meets: what is wrong, the change, and what is said.


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


FAILURES = [
    (
        lambda stack: stack.fault(fail={"ssh": "refused"}),
        "after 8 failed attempts: (ssh: handshake failed|dial tcp .*reset)",
    ),
    (silent, r"dial tcp 203\.0\.113\.10:22: timed out"),
    (another_host_key, "host key mismatch"),
]


@pytest.mark.parametrize(("wrong", "said"), FAILURES, ids=["ssh refused", "ssh silent", "host key changed"])
def test_failure(stack: World, wrong: Callable[[World], AbstractContextManager[None]], said: str) -> None:
    stack.setting("bgp")["holdTimeSeconds"] = 60 + len(said)  # something to do on the host
    stack.fails_and_heals(wrong(stack), said)
    assert stack.established()
