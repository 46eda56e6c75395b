"""SSH to a machine, and through it to LXD's Unix socket there.

Keys stay in memory, and only the pinned host key is accepted: neither ~/.ssh nor an agent is looked at.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncssh

from .endpoint import SOCKETS
from .errors import AnotherMachineError, LxdError, SilentError, UnreachableError

CONNECT_SECONDS = 15
WAITING = "waiting for "
"""How a line begins by which a script says what it waits for (components/scripts/lib.sh)."""
KEEPALIVE_SECONDS = 10
"""After three of these without an answer the connection counts as dropped."""


def dial(way: dict[str, Any], tunnel: asyncssh.SSHClientConnection | None = None) -> Any:
    """A connection, for `async with`, to where the first five keys of an Endpoint lead. Errors: see `explained`."""
    return asyncssh.connect(
        way["host"],
        int(way["port"]),
        tunnel=tunnel,
        username=way["user"],
        client_keys=[asyncssh.import_private_key(way["privateKey"])],
        known_hosts=([asyncssh.import_public_key(way["hostKey"])], [], []),
        config=None,
        agent_path=None,
        preferred_auth="publickey",
        connect_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
    )


async def heard(
    ssh: asyncssh.SSHClientConnection, command: str, seconds: float, told: Callable[[str], object]
) -> tuple[int | None, str]:
    """A command's exit status, and what it said on standard error; but what it waits for is told while it does.

    Errors: TimeoutError where it had not ended after `seconds`, and asyncssh's.
    """
    said, nothing = "", asyncssh.DEVNULL  # what nobody reads of standard output would hold it up after 2 MiB
    async with asyncio.timeout(seconds), ssh.create_process(command, stdin=nothing, stdout=nothing) as process:
        async for line in process.stderr:
            if line.startswith(WAITING):
                told(line.rstrip())
            else:
                said += line
        return (await process.wait()).exit_status, said


class Tunnel:
    """A local socket, `path`, behind which LXD answers until `close`. Errors: SilentError, and those of `explained`."""

    socket: str
    """LXD's own."""

    def __init__(self, endpoint: dict[str, Any]) -> None:
        self._directory = TemporaryDirectory(prefix="lxd-")
        self.path = str(Path(self._directory.name) / "socket")
        self._ready: Future[None] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, args=(endpoint,), daemon=True)
        self._thread.start()
        try:
            self._ready.result()
        except LxdError:
            self.close()
            raise

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=5)
        self._directory.cleanup()

    def _serve(self, endpoint: dict[str, Any]) -> None:
        try:
            asyncio.run(self._forward(endpoint))
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error if isinstance(error, LxdError) else explained(error, endpoint))

    async def _forward(self, endpoint: dict[str, Any]) -> None:
        async with dial(endpoint) as ssh:
            self.socket = await _socket(ssh, endpoint)
            async with ssh.forward_local_path(self.path, self.socket):
                self._loop = asyncio.get_running_loop()
                self._ready.set_result(None)
                await self._stop.wait()


async def _socket(ssh: asyncssh.SSHClientConnection, endpoint: dict[str, Any]) -> str:
    """The first that opens: a forwarded socket fails only when it is used, and then without a reason."""
    sockets = [endpoint["socket"]] if "socket" in endpoint else SOCKETS
    for path in sockets:
        with contextlib.suppress(asyncssh.ChannelOpenError):
            _, probe = await ssh.open_unix_connection(path)
            probe.close()
            return path
    raise SilentError(
        f"{endpoint['host']}:{int(endpoint['port'])} does not open {' or '.join(sockets)} for {endpoint['user']}: "
        "is LXD running, may they write to its socket?"
    )


def explained(error: Exception, way: dict[str, Any]) -> LxdError:
    """What an error on the way means: UnreachableError, AnotherMachineError, or a refusal, LxdError."""
    machine = f"{way['host']}:{int(way['port'])}"
    match error:
        case asyncssh.HostKeyNotVerifiable() | asyncssh.KeyExchangeFailed() if "host" in error.reason:
            return AnotherMachineError(
                f"the SSH host key of {machine} is not the pinned one: another machine answers, or somebody is between "
                "you and it. If it is yours and was reinstalled or rebuilt, pin its new key: host.hostKey, or for a "
                "Linode `pulumi up --replace '**::host-key'`"
            )
        case asyncssh.PermissionDenied():
            return LxdError(f"{machine} does not let {way['user']} in with this privateKey")
        case asyncssh.KeyImportError():
            return LxdError(
                "privateKey or hostKey is not a key that can be read; give an unencrypted OpenSSH or PEM key"
            )
        case asyncssh.ChannelOpenError():
            return UnreachableError(f"{machine} does not answer behind its host")
        case TimeoutError():
            return UnreachableError(f"{machine} gave no SSH connection within {CONNECT_SECONDS} s")
    return UnreachableError(f"{machine} gave no SSH connection ({error})")
