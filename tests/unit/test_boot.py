"""Which start of a machine was seen: over real SSH in this process."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.output import UNKNOWN

from components.boot import BootProvider
from components.remote import Script
from lxd_resources.errors import LxdError
from tests.scripts.machine import composed
from tests.unit.ssh import Machine, one_machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Its answer says which start it is."""
    with one_machine() as its:
        its.output = "first\n"
        yield its


def props(machine: Machine, **way: Any) -> dict[str, Any]:
    return {"machine": machine.way(**way), "identity": "it", "command": "which", "started": None}


def started(result: Any) -> str:
    """By what the provider answers."""
    found: str = result.outs["started"]
    return found


def test_a_refresh_sees_another_start_and_nothing_else_does(machine: Machine) -> None:
    provider = BootProvider()
    seen = {**props(machine), "started": started(provider.create(props(machine)))}
    assert seen["started"] == "first"
    machine.output = "second\n"
    assert not provider.diff("boot", seen, props(machine)).changes
    assert started(provider.read("boot", seen)) == "second"
    assert machine.commands == ["which", "which"]


def test_a_machine_that_does_not_answer_is_as_it_was(machine: Machine) -> None:
    provider = BootProvider()
    silent = props(machine, port=1.0)
    assert started(provider.read("boot", {**silent, "started": "first"})) == "first"
    with pytest.raises(LxdError, match=r"127\.0\.0\.1"):
        provider.create(silent)


def test_a_command_that_fails_is_an_error(machine: Machine) -> None:
    machine.code = 1
    with pytest.raises(LxdError):
        BootProvider().create(props(machine))


@pytest.mark.parametrize(
    ("change", "looks"),
    [
        ({"identity": "another"}, True),
        ({"command": "another"}, True),
        ({"identity": UNKNOWN, "machine": UNKNOWN}, True),
        ({"machine": UNKNOWN}, False),
    ],
)
def test_another_machine_is_looked_at_but_not_a_way_that_a_preview_does_not_know(
    machine: Machine, change: dict[str, Any], looks: bool
) -> None:
    provider = BootProvider()
    seen = {**props(machine), "started": "first"}
    assert provider.diff("boot", seen, {**props(machine), **change}).changes is looks
    machine.output = "second\n"
    assert started(provider.update("boot", seen, props(machine))) == "second"


def test_this_machine_says_the_same_until_it_starts_again() -> None:
    said = [
        subprocess.run(["sh", "-c", composed(Script("booted.sh"))], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    kernel, start = said[0].split()
    assert kernel.count("-") == 4
    assert start.isdecimal()
