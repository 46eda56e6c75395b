"""command:remote:Command over real SSH, as pulumi-command 1.2.1 does it: what that refuses is refused here too."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterable
from typing import Any

import asyncssh

from standin.serve import (
    UNKNOWN,
    CheckError,
    Diff,
    Properties,
    Provider,
    Resource,
    Secret,
    changes,
    conceal,
    reveal,
    unique_name,
)

DEFAULTS = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
# What it knows. The official one knows more: an environment, which sshd refuses by default, passwords and agents.
INPUTS = ("connection", "create", "update", "delete", "triggers", "stdin", "logging", "addPreviousOutputInEnv")
CONNECTION = ("host", "privateKey", "hostKey", *DEFAULTS)
LONGEST_LINE = 65535
"""Bytes. Of a longer line the official one logs nothing, and then waits for ever."""
# Seconds before the second attempt to dial, growth, and the longest pause.
FIRST_PAUSE, PAUSE_GROWTH, LONGEST_PAUSE = 0.1, 1.5, 5.0
LOGGED = {"stdoutAndStderr": {"stdout", "stderr"}, "stdout": {"stdout"}, "stderr": {"stderr"}, "none": set[str]()}


class Command(Provider):
    package = "command"

    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        if resource.type != "command:remote:Command":
            raise ValueError(f"{resource.type}: only command:remote:Command has a stand-in")
        known(news, INPUTS)
        inputs = dict(news)
        if isinstance(connection := reveal(inputs.get("connection")), dict):
            known(connection, (*CONNECTION, "proxy"))
            connection = {**DEFAULTS, **connection}
            if isinstance(proxy := connection.get("proxy"), dict):
                known(proxy, CONNECTION)
                connection["proxy"] = {**DEFAULTS, **proxy}
            inputs["connection"] = Secret(connection)
        return inputs

    def diff(self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties) -> Diff:
        found = {p: c for p, c in changes(old_inputs, news).items() if p != "version" and not p.startswith("__")}
        replaces = frozenset(path for path in found if path.split("[")[0] == "triggers")
        return Diff(found, replaces)

    def create(self, resource: Resource, inputs: Properties, preview: bool) -> tuple[str, Properties]:
        id_ = unique_name(resource.name)
        if preview:
            return id_, {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
        return id_, self.run(resource, inputs.get("create"), inputs, {"stdout": "", "stderr": ""})

    def update(
        self, resource: Resource, old_inputs: Properties, outputs: Properties, news: Properties, preview: bool
    ) -> Properties:
        if preview:
            changed = bool(changes(old_inputs, news))
            return {**news, **{k: UNKNOWN if changed else outputs.get(k, "") for k in ("stdout", "stderr")}}
        return self.run(resource, news.get("update") or news.get("create"), news, outputs)

    def delete(self, resource: Resource, inputs: Properties, outputs: Properties) -> None:
        self.run(resource, outputs.get("delete"), outputs, outputs)

    def run(self, resource: Resource, command: Any, inputs: Properties, previous: Properties) -> Properties:
        """Run `command` as `inputs` say: they and what it wrote. Without a command, what the `previous` one wrote."""
        outputs = {name: reveal(previous.get(name)) or "" for name in ("stdout", "stderr")}
        if command is not None:
            outputs = asyncio.run(self.execute(resource, reveal(command), reveal(inputs), outputs))
        return conceal({**inputs, **outputs}, inputs)

    async def execute(self, resource: Resource, command: str, inputs: Properties, previous: Properties) -> Properties:
        if inputs.get("addPreviousOutputInEnv", True) and any(previous.values()):
            self.log(resource, "Unable to set PULUMI_COMMAND_…: sshd accepts no such variables by default", "WARNING")
        logged = LOGGED[inputs.get("logging") or "stdoutAndStderr"]
        written: dict[str, list[str]] = {"stdout": [], "stderr": [], "both": [], "logged": []}

        async def collect(name: str, reader: asyncssh.SSHReader[str]) -> None:
            while text := await reader.read(65536):
                written[name].append(text)
                written["both"].append(text)
                if name in logged:
                    written["logged"].append(text)
                    for line in text.splitlines():
                        self.log(resource, line, ephemeral=True)

        async with contextlib.AsyncExitStack() as stack:
            client = await self.connect(resource, inputs["connection"], stack)
            process = await client.create_process(command, errors="replace")
            with contextlib.suppress(OSError):  # a command that has ended already read none of it
                process.stdin.write(inputs.get("stdin") or "")
                process.stdin.write_eof()
            await asyncio.gather(collect("stdout", process.stdout), collect("stderr", process.stderr))
            await process.wait_closed()
        if any(len(line.encode()) > LONGEST_LINE for line in "".join(written["logged"]).split("\n")):
            raise RuntimeError(f"a line of more than {LONGEST_LINE} bytes to log: the official plugin would never end")
        if process.exit_status != 0:
            raise RuntimeError(f"{exit_reason(process)}: running {quoted(command)}:\n{''.join(written['both'])}")
        return {name: "".join(written[name]).removesuffix("\n") for name in previous}

    async def connect(
        self, resource: Resource, connection: Properties, stack: contextlib.AsyncExitStack
    ) -> asyncssh.SSHClientConnection:
        """A connection that ends with `stack`, through at most one proxy, tried until `dialErrorLimit` errors."""
        options = authentication(connection)
        tunnel, via = None, ""
        if proxy := connection.get("proxy"):
            via = "proxy: "
            try:
                tunnel = await self.connect(resource, proxy, stack)
            except RuntimeError as error:
                raise RuntimeError(f"{via}{error}") from error
        pause, limit, failed = FIRST_PAUSE, connection["dialErrorLimit"], 0
        while True:
            try:
                client = await dial(connection, tunnel, options)
            except (OSError, asyncssh.Error) as error:
                reason = dial_reason(connection, error)
                if tunnel and limit and not isinstance(error, asyncssh.ChannelOpenError):
                    # It tries again over the one connection that the proxy has opened, which is closed by then.
                    failed, reason = limit, "ssh: handshake failed: EOF"
                if 0 <= limit <= failed:
                    raise RuntimeError(f"{via}after {failed} failed attempts: {reason}") from error
            else:
                return await stack.enter_async_context(client)
            failed += 1
            self.log(resource, f"Dial {failed}/{'inf' if limit < 0 else limit} failed: retrying", ephemeral=True)
            await asyncio.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


def known(given: Iterable[str], names: Iterable[str]) -> None:
    """CheckError for a name that is not one of `names`; the engine's own start with two underscores."""
    for name in given:
        if name not in names and name != "version" and not name.startswith("__"):
            raise CheckError(name, f"{name} is not known to the stand-in, or to the official plugin")


async def dial(
    connection: Properties, tunnel: asyncssh.SSHClientConnection | None, options: Properties
) -> asyncssh.SSHClientConnection:
    address = (connection["host"], int(connection["port"]))
    # As in the official plugin perDialTimeout bounds the TCP connection, not the handshake after it.
    options = {**options, "login_timeout": 0, "keepalive_interval": 0, "config": None, "agent_path": None}
    if options.get("server_host_key_algs") == ["ssh-rsa"]:  # with SHA-1, which no OpenSSH from 8.8 on offers
        raise asyncssh.KeyExchangeFailed("ssh: no common algorithm for host key; client offered: [ssh-rsa]")
    if tunnel:
        return await asyncssh.connect(*address, tunnel=tunnel, **options)
    sock = await asyncio.to_thread(socket.create_connection, address, connection["perDialTimeout"] or None)
    sock.setblocking(False)
    return await asyncssh.connect(*address, sock=sock, **options)


def authentication(connection: Properties) -> Properties:
    if agent := os.environ.get("SSH_AUTH_SOCK"):  # dialled though a private key is given
        with socket.socket(socket.AF_UNIX) as its:
            try:
                its.connect(agent)
            except OSError as error:
                raise RuntimeError(f"dial unix {agent}: connect: {(error.strerror or '').lower()}") from error
    options: Properties = {
        "username": connection["user"],
        "password": connection.get("password"),
        "client_keys": None,
        "known_hosts": None,
    }
    if connection.get("privateKey"):
        key = asyncssh.import_private_key(connection["privateKey"], connection.get("privateKeyPassword"))
        options["client_keys"] = [key]
    if connection.get("hostKey"):
        host_key = asyncssh.import_public_key(connection["hostKey"])
        options["known_hosts"] = ([host_key], [], [])
        options["server_host_key_algs"] = [host_key.get_algorithm()]
    return options


def dial_reason(connection: Properties, error: Exception) -> str:
    """The error in the words of the official plugin's SSH library."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return "ssh: handshake failed: ssh: host key mismatch"
        case asyncssh.PermissionDenied():
            return "ssh: handshake failed: ssh: unable to authenticate, no supported methods remain"
        case asyncssh.ChannelOpenError():
            return f"ssh: rejected: connect failed ({error.reason})"
        case asyncssh.Error():
            return f"ssh: handshake failed: {error}"
        case _:
            return f"dial tcp {connection['host']}:{connection['port']}: {str(error) or 'i/o timeout'}"


def exit_reason(process: asyncssh.SSHClientProcess[str]) -> str:
    if process.exit_signal:
        name = process.exit_signal[0]
        number = getattr(signal, f"SIG{name}", 0)
        return f"Process exited with status {128 + number} from signal {name}"
    if process.exit_status is None:
        return "wait: remote command exited without exit status or exit signal"
    return f"Process exited with status {process.exit_status}"


def quoted(text: str) -> str:
    """`text` as Go's %q writes it, near enough."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
