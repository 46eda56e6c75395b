"""What runs on a machine when a resource goes: over real SSH in this process, and not where the machine is gone."""

from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest
from pulumi.output import UNKNOWN

from components.finalizer import FinalizerProvider
from lxd_resources import endpoint, entity, transport
from lxd_resources.errors import LxdError
from tests.unit.ssh import Machine, two_machines


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """A host, and a node behind it."""
    with two_machines() as both:
        yield both


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity, "_said", set())
    monkeypatch.setattr(endpoint, "_ways", {})
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 2)


def props(machine: dict[str, Any], proxy: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    its = {"file": "undo.sh", "command": "undo", "seconds": 5.0, "machine": machine, "subject": "", **changed}
    return its | ({"proxy": proxy} if proxy else {})


def another_key() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()


def test_it_runs_when_it_is_deleted_and_not_before(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    its = props(host.way())
    made = FinalizerProvider().create(its)
    assert (made.id, made.outs) == ("undo.sh", its)
    assert FinalizerProvider().update("", its, its | {"seconds": 6.0}).outs == its | {"seconds": 6.0}
    assert FinalizerProvider().read("undo.sh", its).outs == its
    assert host.commands == []
    FinalizerProvider().delete("", its)
    assert host.commands == ["undo"]


def test_it_goes_through_the_proxy(machines: tuple[Machine, Machine]) -> None:
    host, node = machines
    FinalizerProvider().delete("", props(node.way(machine="00:16:3e"), host.way()))
    assert (host.commands, node.commands) == ([], ["undo"])


def test_a_script_that_fails_holds_up_the_deletion(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.code = 3
    with pytest.raises(LxdError, match=r"^undo\.sh ended with 3: it said why$"):
        FinalizerProvider().delete("", props(host.way()))


def test_what_the_script_waits_for_is_told_and_no_part_of_its_error(
    machines: tuple[Machine, Machine], capfd: pytest.CaptureFixture[str]
) -> None:
    host, _ = machines
    host.code, host.said = 3, "waiting for a pod: last seen Pending (15 of 60 s)\nit said why\n"
    with pytest.raises(LxdError, match=r"^undo\.sh ended with 3: it said why$"):
        FinalizerProvider().delete("", props(host.way()))
    assert capfd.readouterr().err == "waiting for a pod: last seen Pending (15 of 60 s)\n"


def test_a_script_that_prints_much_is_not_held_up(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.output = "a line of what it prints\n" * 200000
    FinalizerProvider().delete("", props(host.way(), seconds=-5.0))
    assert host.commands == ["undo"]


@pytest.mark.parametrize("hop", ["host", "node"])
def test_nothing_is_done_on_a_machine_with_another_key(
    machines: tuple[Machine, Machine], hop: str, capfd: pytest.CaptureFixture[str]
) -> None:
    host, node = machines
    ways = {"host": host.way(), "node": node.way(machine="00:16:3e")}
    ways[hop]["hostKey"] = another_key()
    FinalizerProvider().delete("", props(ways["node"], ways["host"]))
    assert host.commands == node.commands == []
    assert "is not the pinned one" in capfd.readouterr().err


def test_a_machine_that_does_not_answer_holds_up_the_deletion_with_the_way_to_go(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = machines
    dead = host.way(port=1.0)
    said = (
        r"undo\.sh did not run: .* gave no SSH connection .*say so: CILIUM_BGP_DELETE_UNREACHABLE=true pulumi destroy"
    )
    with pytest.raises(LxdError, match=said):
        FinalizerProvider().delete("", props(dead))
    with pytest.raises(LxdError, match=r"undo\.sh did not run: 127\.0\.0\.1:1 does not answer behind its host"):
        FinalizerProvider().delete("", props(dead, host.way()))
    FinalizerProvider().delete("", props(dead | {"owned": True}))
    monkeypatch.setenv("CILIUM_BGP_DELETE_UNREACHABLE", "true")
    FinalizerProvider().delete("", props(dead))


def test_it_runs_by_the_way_that_its_machine_has_today(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    old = props(host.way(port=1.0))
    assert FinalizerProvider().diff("", old, props(host.way())).changes
    FinalizerProvider().diff("", old, old)  # as the engine asks about what a replacement takes along
    FinalizerProvider().delete("", old)
    assert host.commands == ["undo"]


def test_another_subject_is_another_one_but_not_on_another_machine() -> None:
    machine = Machine("ssh-ed25519 AAAA", "a key", 22)
    olds = props(machine.way(), subject="00:16:3e:00:00:01")

    def diff(**changed: Any) -> tuple[bool | None, list[str] | None]:
        result = FinalizerProvider().diff("", olds, {**olds, "__provider": "x", **changed})
        return result.changes, result.replaces

    assert diff() == (False, [])
    assert diff(subject="00:16:3e:00:00:02") == (True, ["subject"])
    assert diff(subject=UNKNOWN) == (True, ["subject"])
    assert diff(command="undo all") == (True, [])
    elsewhere = machine.way(hostKey="ssh-ed25519 BBBB")
    for now in (elsewhere, machine.way(machine="4712"), UNKNOWN):
        assert diff(subject="00:16:3e:00:00:02", machine=now) == (True, [])
