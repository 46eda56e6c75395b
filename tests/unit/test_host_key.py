"""A host key, learned from a real SSH server in this process, and pinned."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import asyncssh
import pytest

from components.host_key import HostKeyProvider, learn
from tests.unit.ssh import public, serving


class Machine:
    """An SSH server whose key can be made anew."""

    def __init__(self) -> None:
        self.port = 0
        self.listening = ExitStack()
        self.key = self.boot()

    def boot(self) -> str:
        """Listens with a new key, on the port that it had before; returns the key."""
        self.listening.close()
        keys = [asyncssh.generate_private_key(kind) for kind in ("ecdsa-sha2-nistp256", "ssh-ed25519")]
        self.port = self.listening.enter_context(serving(*keys, port=self.port))
        return " ".join(public(keys[1]).split()[:2])


@pytest.fixture
def machine() -> Iterator[Machine]:
    its = Machine()
    with its.listening:
        yield its


def props(server: Machine, **changed: Any) -> dict[str, Any]:
    # numbers come from the engine as floats
    return {"machine": "4711", "host": "127.0.0.1", "port": float(server.port), "seconds": 30.0, **changed}


def test_it_learns_the_ed25519_key_without_a_comment(machine: Machine) -> None:
    created = HostKeyProvider().create(props(machine))
    assert created.id == f"127.0.0.1:{machine.port}"
    assert created.outs == props(machine, key=machine.key)
    assert machine.key.startswith("ssh-ed25519 AAAA")
    assert len(machine.key.split()) == 2


def test_a_refresh_trusts_no_new_key_and_needs_no_machine(machine: Machine) -> None:
    pinned = props(machine, key="pinned")
    read = HostKeyProvider().read("id", pinned)
    assert (read.id, read.outs) == ("id", pinned)


def test_a_machine_that_does_not_answer_in_time_is_an_error_that_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(TimeoutError) as late:
        learn("127.0.0.1", port, 0.2)
    said = str(late.value)
    assert said.startswith(f"127.0.0.1 port {port}: no SSH host key within 0 s, last seen: ")
    assert "Connect call failed" in said
    assert "host.adminCidrs" in said
    assert slept, "it asks again, and not at once"


def test_it_waits_for_a_machine_that_is_still_booting(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.listening.close()
    booted: list[str] = []

    async def sleep(_: float) -> None:
        if not booted:
            booted.append(await asyncio.to_thread(machine.boot))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert [learn("127.0.0.1", machine.port, 30)] == booted


def test_another_machine_is_learned_anew(machine: Machine) -> None:
    diff = HostKeyProvider().diff("id", props(machine, key="pinned"), props(machine, machine="4712", host="192.0.2.8"))
    assert (diff.changes, diff.replaces) == (True, ["machine"])


@pytest.mark.parametrize("moved", [{"host": "198.51.100.8"}, {"port": 2222.0}, {"seconds": 60.0}])
def test_another_address_or_deadline_keeps_the_key(machine: Machine, moved: dict[str, Any]) -> None:
    olds, news = props(machine, key="pinned"), props(machine, **moved)
    diff = HostKeyProvider().diff("id", olds, news)
    assert (diff.changes, diff.replaces) == (True, [])
    assert HostKeyProvider().update("id", olds, news).outs == news | {"key": "pinned"}


def test_without_a_change_nothing_is_asked(machine: Machine) -> None:
    diff = HostKeyProvider().diff("id", props(machine, key="pinned"), props(machine))
    assert (diff.changes, diff.replaces) == (False, [])
