"""command:remote:Command over real SSH, as pulumi-command 1.2.1 does it."""

import asyncio
import contextlib
import signal
import socket
from typing import Any

import asyncssh

from standin.serve import UNKNOWN, Diff, Properties, Provider, Resource, Secret, changes, conceal, reveal, unique_name

DEFAULTS = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
# Seconds before the second attempt to dial, growth, and the longest pause.
FIRST_PAUSE, PAUSE_GROWTH, LONGEST_PAUSE = 0.1, 1.5, 5.0
LOGGED = {"stdoutAndStderr": {"stdout", "stderr"}, "stdout": {"stdout"}, "stderr": {"stderr"}, "none": set[str]()}


class Command(Provider):
    package = "command"

    def check(self, resource: Resource, olds: Properties, news: Properties) -> Properties:
        if resource.type != "command:remote:Command":
            raise ValueError(f"{resource.type}: only command:remote:Command has a stand-in")
        inputs = dict(news)
        if isinstance(connection := reveal(inputs.get("connection")), dict):
            connection = {**DEFAULTS, **connection}
            if isinstance(connection.get("proxy"), dict):
                connection["proxy"] = {**DEFAULTS, **connection["proxy"]}
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
        environment = dict(inputs.get("environment") or {})
        if inputs.get("addPreviousOutputInEnv", True):
            environment |= {f"PULUMI_COMMAND_{name.upper()}": text for name, text in previous.items() if text}
        logged = LOGGED[inputs.get("logging") or "stdoutAndStderr"]
        written: dict[str, list[str]] = {"stdout": [], "stderr": [], "both": []}

        async def collect(name: str, reader: asyncssh.SSHReader[str]) -> None:
            while text := await reader.read(65536):
                written[name].append(text)
                written["both"].append(text)
                for line in text.splitlines() if name in logged else []:
                    self.log(resource, line, ephemeral=True)

        async with contextlib.AsyncExitStack() as stack:
            client = await self.connect(resource, inputs["connection"], stack)
            process = await client.create_process(command, env=environment, errors="replace")
            with contextlib.suppress(OSError):  # a command that has ended already read none of it
                process.stdin.write(inputs.get("stdin") or "")
                process.stdin.write_eof()
            await asyncio.gather(collect("stdout", process.stdout), collect("stderr", process.stderr))
            await process.wait_closed()
        if process.exit_status != 0:
            raise RuntimeError(f"{exit_reason(process)}: running {quoted(command)}:\n{''.join(written['both'])}")
        return {name: "".join(written[name]).removesuffix("\n") for name in previous}

    async def connect(
        self, resource: Resource, connection: Properties, stack: contextlib.AsyncExitStack
    ) -> asyncssh.SSHClientConnection:
        """A connection that ends with `stack`, through at most one proxy, tried until `dialErrorLimit` errors."""
        tunnel, via = None, ""
        if proxy := connection.get("proxy"):
            via = "proxy: "
            try:
                tunnel = await self.connect(resource, proxy, stack)
            except RuntimeError as error:
                raise RuntimeError(f"{via}{error}") from error
        options = authentication(connection)
        pause, limit, failed = FIRST_PAUSE, connection["dialErrorLimit"], 0
        while True:
            try:
                client = await dial(connection, tunnel, options)
            except (OSError, asyncssh.Error) as error:
                if 0 <= limit <= failed:
                    reason = dial_reason(connection, error)
                    raise RuntimeError(f"{via}after {failed} failed attempts: {reason}") from error
            else:
                return await stack.enter_async_context(client)
            failed += 1
            self.log(resource, f"Dial {failed}/{'inf' if limit < 0 else limit} failed: retrying", ephemeral=True)
            await asyncio.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)


async def dial(
    connection: Properties, tunnel: asyncssh.SSHClientConnection | None, options: Properties
) -> asyncssh.SSHClientConnection:
    address = (connection["host"], int(connection["port"]))
    # As in the official plugin perDialTimeout bounds the TCP connection, not the handshake after it.
    options = {**options, "login_timeout": 0, "keepalive_interval": 0, "config": None, "agent_path": None}
    if tunnel:
        return await asyncssh.connect(*address, tunnel=tunnel, **options)
    sock = await asyncio.to_thread(socket.create_connection, address, connection["perDialTimeout"] or None)
    sock.setblocking(False)
    return await asyncssh.connect(*address, sock=sock, **options)


def authentication(connection: Properties) -> Properties:
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
