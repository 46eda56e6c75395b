"""LXD's Unix socket on another machine, forwarded here through SSH."""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncssh

from .client import LxdError, UnreachableError

CONNECT_SECONDS = 15
KEEPALIVE_SECONDS = 10
"""After three of these without an answer the connection counts as dropped."""


class Tunnel:
    """A local socket, `path`, behind which LXD answers until `close`.

    Keys stay in memory, and only the endpoint's host key is accepted: neither ~/.ssh nor an agent is looked at.
    Errors: UnreachableError when the machine or LXD does not answer, LxdError when one of them refuses.
    """

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
                self._ready.set_exception(_explained(error, endpoint))

    async def _forward(self, endpoint: dict[str, Any]) -> None:
        async with asyncssh.connect(
            endpoint["host"],
            int(endpoint["port"]),
            username=endpoint["user"],
            client_keys=[asyncssh.import_private_key(endpoint["privateKey"])],
            known_hosts=([asyncssh.import_public_key(endpoint["hostKey"])], [], []),
            config=None,
            agent_path=None,
            preferred_auth="publickey",
            connect_timeout=CONNECT_SECONDS,
            login_timeout=CONNECT_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
        ) as ssh:
            # A forwarded socket fails only when it is used, and then without a reason: use it once.
            _, probe = await ssh.open_unix_connection(endpoint["socket"])
            probe.close()
            async with ssh.forward_local_path(self.path, endpoint["socket"]):
                self._loop = asyncio.get_running_loop()
                self._ready.set_result(None)
                await self._stop.wait()


def _explained(error: Exception, endpoint: dict[str, Any]) -> LxdError:
    machine = f"{endpoint['host']}:{int(endpoint['port'])}"
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return LxdError(
                f"the SSH host key of {machine} is not the pinned one; if the machine was reinstalled, change hostKey, "
                "otherwise somebody is between you and it"
            )
        case asyncssh.PermissionDenied():
            return LxdError(f"{machine} does not let {endpoint['user']} in with this privateKey")
        case asyncssh.KeyImportError():
            return LxdError(
                "privateKey or hostKey is not a key that can be read; give an unencrypted OpenSSH or PEM key"
            )
        case asyncssh.ChannelOpenError():
            return UnreachableError(
                f"{machine} does not open {endpoint['socket']} for {endpoint['user']}: is LXD running, may they write "
                "to its socket, is it that (snap: /var/snap/lxd/common/lxd, Debian: /var/lib/lxd, each /unix.socket)?"
            )
        case TimeoutError():
            return UnreachableError(f"{machine} gave no SSH connection within {CONNECT_SECONDS} s")
    return UnreachableError(f"{machine} gave no SSH connection ({error})")
