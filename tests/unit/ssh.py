"""Machines that answer over real SSH in this process, record commands, and run none."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh

USER_KEY = asyncssh.generate_private_key("ssh-ed25519")


class Login(asyncssh.SSHServer):
    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True  # a hop to the next machine


@dataclass
class Machine:
    port: int
    host_key: str
    private_key: str = USER_KEY.export_private_key().decode()
    commands: list[str] = field(default_factory=list)
    code: int = 0
    said: str = "it said\nwhy\n"

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


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """A host, and a node that is reached through it, with a key of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers: list[asyncssh.SSHAcceptor] = []

    async def boot(login: asyncssh.SSHKey) -> Machine:
        def run(process: asyncssh.SSHServerProcess[str]) -> None:
            machine.commands.append(process.command or "")
            process.stderr.write(machine.said)
            process.exit(machine.code)

        key = asyncssh.generate_private_key("ssh-ed25519")
        authorized = asyncssh.import_authorized_keys(login.export_public_key().decode())
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Login, server_host_keys=[key], process_factory=run,
            authorized_client_keys=authorized,
        )  # fmt: skip
        servers.append(server)
        host_key = key.export_public_key().decode().strip()
        machine = Machine(server.get_port(), host_key, login.export_private_key().decode())
        return machine

    async def both() -> tuple[Machine, Machine]:
        return await boot(USER_KEY), await boot(asyncssh.generate_private_key("ssh-ed25519"))

    async def close() -> None:
        for server in servers:
            server.close()

    try:
        yield asyncio.run_coroutine_threadsafe(both(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
