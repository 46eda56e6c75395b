"""Machines that answer over real SSH in this process. One loop serves all of them, in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncssh

USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()
T = TypeVar("T")


def call(work: Coroutine[Any, Any, T]) -> T:
    """What it gives, run where the servers are."""
    return asyncio.run_coroutine_threadsafe(work, LOOP).result(30)


@contextmanager
def serving(
    *host_keys: asyncssh.SSHKey, user: asyncssh.SSHKey = USER_KEY, port: int = 0, **options: Any
) -> Iterator[int]:
    """A server on loopback that the `user` may log in to, with options as `asyncssh.listen`'s; its port."""
    options["authorized_client_keys"] = asyncssh.import_authorized_keys(user.export_public_key().decode())

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", port, server_host_keys=list(host_keys), **options)

    async def close() -> None:
        acceptor.close()

    acceptor = call(listen())
    try:
        yield acceptor.get_port()
    finally:
        call(close())


def public(key: asyncssh.SSHKey) -> str:
    """Its public half, `ssh-ed25519 AAAA…`."""
    return key.export_public_key().decode().strip()


class Login(asyncssh.SSHServer):
    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True  # a hop to the next machine


@dataclass
class Machine:
    """It records commands, runs none, and answers all alike."""

    host_key: str
    private_key: str
    port: int = 0
    commands: list[str] = field(default_factory=list)
    code: int = 0
    output: str = ""
    said: str = "it said\nwhy\n"
    """On standard error."""

    def way(self, **changed: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": float(self.port),
            "user": "root",
            "privateKey": self.private_key,
            "hostKey": self.host_key,
            "machine": "4711",
            "owned": False,
            **changed,
        }

    def answer(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self.commands.append(process.command or "")
        process.stdout.write(self.output)
        process.stderr.write(self.said)
        process.exit(self.code)


@contextmanager
def one_machine(login: asyncssh.SSHKey = USER_KEY) -> Iterator[Machine]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    machine = Machine(public(key), login.export_private_key().decode())
    with serving(key, user=login, server_factory=Login, process_factory=machine.answer) as machine.port:
        yield machine


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """A host, and a node that is reached through it, with a key of its own."""
    with one_machine() as host, one_machine(asyncssh.generate_private_key("ssh-ed25519")) as node:
        yield host, node
