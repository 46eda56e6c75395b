"""Every Service that the stack's `ssh_commands` have a tunnel to, on this machine, until Ctrl-C.

usage: tunnel.py STACK

Each at the port of its line, over one connection with the stack's own key and the pinned host key.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import asyncssh

from lxd_resources.transport import dial, explained
from status.stack import Stack, UnknownError, read

LOOPBACK = "127.0.0.1"
LINE = re.compile(r" -L (\d+):(\S+):(\d+)$")
NOT_HTTP = ("kube-system/hubble-relay",)


class Tunnel(NamedTuple):
    service: str
    here: int
    """Port of this machine."""
    address: str
    port: int


def tunnels(stack: Stack) -> list[Tunnel]:
    """Of the outputs."""
    lines = stack.outputs.get("ssh_commands", {}).items()
    found = [(service, its) for service, line in lines if (its := LINE.search(line))]
    return [Tunnel(service, int(its[1]), its[2], int(its[3])) for service, its in found]


@asynccontextmanager
async def opened(stack: Stack) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, list[str]]]:
    """The connection that carries them, and a line to be told for each. Errors: OSError, asyncssh.Error."""
    async with AsyncExitStack() as closing:
        host = await closing.enter_async_context(dial(dict(stack.way)))
        said = []
        for its in tunnels(stack):
            at = f"{'' if its.service in NOT_HTTP else 'http://'}localhost:{its.here}"
            try:
                await closing.enter_async_context(host.forward_local_port(LOOPBACK, its.here, its.address, its.port))
                said.append(f"{at:24} {its.service}")
            except OSError as error:
                said.append(f"{at:24} {its.service}: not opened, {os.strerror(error.errno or 0)}")
        yield host, said


async def show(stack: Stack) -> int:
    async with opened(stack) as (host, said):
        print("\n".join([*said, "Ctrl-C ends it"]), flush=True)
        await host.wait_closed()
    print(f"{stack.ssh} has closed the connection", file=sys.stderr)
    return 1


def main(name: str) -> int:
    try:
        stack = read(name)
    except UnknownError as error:
        sys.exit(str(error))
    if not tunnels(stack):
        sys.exit(f"the stack {name} has no Service to bring here: its first `up` has not ended well")
    try:
        return asyncio.run(show(stack))
    except KeyboardInterrupt:
        return 0
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        sys.exit(f"{stack.ssh}: {explained(error, dict(stack.way))}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
