"""Take a snapshot of a stack's cluster now, by the first server that answers; tells its name.

usage: snapshot.py STACK
"""

import asyncio
import sys

import asyncssh

from components.remote import Connection, Script, Servers
from lxd_resources.transport import dial, explained
from status.stack import Stack, UnknownError, read

SECONDS = 300


async def take(stack: Stack) -> str:
    """Name of the snapshot. Errors: OSError, asyncssh.Error."""
    way = stack.way
    servers = Servers(Connection(way["host"], "", way["hostKey"], way["user"]), stack.endpoint)
    command = await servers.command(Script("k3s_snapshot.sh", seconds=SECONDS), "snapshot").future()
    async with dial(dict(way)) as host:
        done = await host.run(command or "", input="")
    if done.exit_status:
        sys.exit(f"{stack.ssh}: {done.stderr!s}".strip())
    return str(done.stdout).strip()


def main(name: str) -> int:
    try:
        stack = read(name)
        taken = asyncio.run(take(stack))
    except UnknownError as error:
        sys.exit(str(error))
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        sys.exit(f"{stack.ssh}: {explained(error, dict(stack.way))}")
    print(taken)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
