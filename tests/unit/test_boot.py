"""Which start of a machine was seen: over real SSH in this process."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest
from pulumi.output import UNKNOWN

from components.boot import BootProvider
from components.remote import Script
from lxd_resources.errors import LxdError
from tests.scripts.machine import composed

USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
PRIVATE = USER_KEY.export_private_key().decode()


class Machine:
    """An SSH server that says which start it is."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.start, self.status = "first", 0
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result(30)

    async def listen(self) -> None:
        def answer(process: asyncssh.SSHServerProcess[str]) -> None:
            process.stdout.write(f"{self.start}\n")
            process.exit(self.status if process.command == "which" else 127)

        authorized = asyncssh.import_authorized_keys(USER_KEY.export_public_key().decode())
        self.server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self.key], process_factory=answer, authorized_client_keys=authorized
        )

    def ends(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)

    def props(self, **way: Any) -> dict[str, Any]:
        machine = {
            "host": "127.0.0.1",
            "port": float(self.server.get_port()),
            "user": "root",
            "privateKey": PRIVATE,
            "hostKey": self.key.export_public_key().decode().strip(),
            **way,
        }
        return {"machine": machine, "identity": "it", "command": "which", "started": None}


@pytest.fixture
def machine() -> Iterator[Machine]:
    its = Machine()
    yield its
    its.ends()


def started(result: Any) -> str:
    """By what the provider answers."""
    found: str = result.outs["started"]
    return found


def test_a_refresh_sees_another_start_and_nothing_else_does(machine: Machine) -> None:
    provider = BootProvider()
    seen = {**machine.props(), "started": started(provider.create(machine.props()))}
    assert seen["started"] == "first"
    machine.start = "second"
    assert not provider.diff("boot", seen, machine.props()).changes
    assert started(provider.read("boot", seen)) == "second"


def test_a_machine_that_does_not_answer_is_as_it_was(machine: Machine) -> None:
    provider = BootProvider()
    silent = machine.props(port=1.0)
    assert started(provider.read("boot", {**silent, "started": "first"})) == "first"
    with pytest.raises(LxdError, match=r"127\.0\.0\.1"):
        provider.create(silent)


def test_a_command_that_fails_is_an_error(machine: Machine) -> None:
    machine.status = 1
    with pytest.raises(LxdError):
        BootProvider().create(machine.props())


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
    seen = {**machine.props(), "started": "first"}
    assert provider.diff("boot", seen, {**machine.props(), **change}).changes is looks
    machine.start = "second"
    assert started(provider.update("boot", seen, machine.props())) == "second"


def test_this_machine_says_the_same_until_it_starts_again() -> None:
    said = [
        subprocess.run(["sh", "-c", composed(Script("booted.sh"))], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    kernel, start = said[0].split()
    assert kernel.count("-") == 4
    assert start.isdecimal()
