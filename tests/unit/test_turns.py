"""A node leaves, is changed and returns before the next one; where one fails the others stay as they are."""

import asyncio
from typing import Any

import pulumi
import pytest

from components import remote
from components.remote import Connection, Script
from components.turns import Turns

HOST = Connection(host="192.0.2.10", private_key="", host_key="")


class Its:
    """What the engine tells a hook: a secret is an Output, and what a secret is in is one."""

    def __init__(
        self, old: str = "v1", new: str = "v2", machine: str = "ssh-ed25519 A", was: str = "ssh-ed25519 A"
    ) -> None:
        def inputs(text: str, key: str) -> dict[str, Any]:
            return {"stdin": pulumi.Output.secret(text), "connection": pulumi.Output.secret({"hostKey": key})}

        self.old_inputs, self.new_inputs = inputs(old, was), inputs(new, machine)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    steps: list[str] = []

    async def run_now(name: str, script: Script, _: Connection) -> None:
        if script.file == "fails":
            raise RuntimeError("a PodDisruptionBudget")
        steps.append(name)

    monkeypatch.setattr(remote, "run_now", run_now)
    for kind in ("ResourceHook", "ErrorHook"):
        monkeypatch.setattr(pulumi, kind, lambda _, function: function)
    return steps


def hooks(its: Turns, node: str, leave: str = "leave") -> dict[str, Any]:
    made = its.hooks(node, Script(leave), Script("back"))
    found = {"before": made.before_update, "after": made.after_update, "error": made.on_error}
    return {key: each[0] for key, each in found.items() if each}


async def change(steps: list[str], its: Turns, node: str, **what: Any) -> None:
    hook = hooks(its, node)
    await hook["before"](Its(**what))
    steps.append(node)
    await asyncio.sleep(0)
    await hook["after"](Its(**what))


@pytest.mark.parametrize(("size", "first"), [(1, ["a-leaves", "a", "a-returns"]), (2, ["a-leaves", "a", "b-leaves"])])
def test_no_more_change_at_a_time_than_are_allowed(said: list[str], size: int, first: list[str]) -> None:
    async def run() -> None:
        its = Turns(size, HOST)
        await asyncio.gather(*(change(said, its, node) for node in "abc"))

    asyncio.run(run())
    assert said[:3] == first
    assert len(said) == 9


@pytest.mark.parametrize("what", [{"old": "v1", "new": "v1"}, {"was": "ssh-ed25519 B"}])
def test_what_changes_nothing_takes_no_turn_and_neither_does_another_machine(
    said: list[str], what: dict[str, str]
) -> None:
    asyncio.run(change(said, Turns(1, HOST), "a", **what))
    assert said == ["a"]


@pytest.mark.parametrize("where", ["drain", "change"])
def test_after_one_that_failed_no_other_is_touched(said: list[str], where: str) -> None:
    async def run() -> None:
        its = Turns(1, HOST)
        hook = hooks(its, "a", "fails" if where == "drain" else "leave")
        if where == "drain":
            with pytest.raises(RuntimeError, match="PodDisruptionBudget"):
                await hook["before"](Its())
        else:
            await hook["before"](Its())
            assert hook["error"](None) is False, "not tried again"
        with pytest.raises(RuntimeError, match="b is left as it is, since the change of a has failed"):
            await hooks(its, "b")["before"](Its())

    asyncio.run(run())
    assert "b-leaves" not in said
