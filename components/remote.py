"""The one place that builds a command that runs on a machine over SSH."""

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pulumi
from pulumi_command import remote

from components.finalizer import Finalizer
from lxd_resources.endpoint import SOCKETS

SCRIPTS = Path(__file__).parent / "scripts"
SHARED = ("alone.sh", "lib.sh", "awaited.py")
"""What of them is no script but part of every command."""
MODULES = """import sys, types
for name, text in {}.items():
    exec(text, vars(sys.modules.setdefault(name, types.ModuleType(name))))
"""
"""Lets the rest of a Python program import these modules, {{name: text}}, on a machine that does not have them."""


@dataclass(frozen=True)
class Connection:
    """How to reach a machine over SSH."""

    host: pulumi.Input[str]
    """Address or host name."""
    private_key: pulumi.Input[str]
    """OpenSSH or PEM private key; a secret."""
    host_key: pulumi.Input[str]
    """The machine's pinned public key, as in authorized_keys: `ssh-ed25519 AAAA…`."""
    user: pulumi.Input[str] = "root"
    """Login user; any but root needs sudo without a password."""
    port: int = 22
    proxy: "Connection | None" = None
    """A machine to go through; it has no proxy of its own (pulumi-command 1.2 allows one hop)."""
    machine: pulumi.Input[str] = ""
    """What tells the machine from another one besides its host key, e.g. a cloud's ID of it."""
    owned: bool = False
    """The stack makes and deletes the machine: what is on it ends with it."""

    def arguments(self) -> remote.ConnectionArgs:
        """This connection for pulumi-command, which dials eight times, at most 15 s each, before it gives up."""
        proxy = None if self.proxy is None else remote.ProxyConnectionArgs(**self.proxy._fields())
        return remote.ConnectionArgs(**self._fields(), proxy=proxy)

    @property
    def identity(self) -> pulumi.Output[str]:
        """What the machine is known by."""
        return pulumi.Output.format("{0} {1}", self.machine, self.host_key)

    def way(self) -> pulumi.Output[dict[str, Any]]:
        """This connection as a part of an `lxd_resources.Endpoint`; a secret."""
        return pulumi.Output.secret(
            pulumi.Output.all(
                host=self.host,
                port=self.port,
                user=self.user,
                privateKey=self.private_key,
                hostKey=self.host_key,
                machine=self.machine,
                owned=self.owned,
            )
        )

    def _fields(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "private_key": self.private_key,
            "host_key": self.host_key,
            "dial_error_limit": 8,
            "per_dial_timeout": 15,
        }


@dataclass(frozen=True)
class Servers:
    """The servers of a cluster: a script runs as root on the first whose API answers, started from the host."""

    host: Connection
    """SSH to the host, which knows its servers by name (`k3s_endpoint.sh`)."""
    endpoint: str
    """Name of the unit and files of the API's endpoint there."""
    without: Literal["wait", "skip", "pass"] = "wait"
    """What to do where no server has ever run (`skip`), or none answers in time (`pass`): to go on without the script,
    which prints nothing then."""
    seconds: int = 120
    """How long a server is waited for."""
    cluster: pulumi.Input[str] | None = None
    """What the cluster is known by: what was run on one has not been run on another."""

    @property
    def user(self) -> pulumi.Input[str]:
        return self.host.user

    def command(self, script: "Script", name: str, machine: pulumi.Input[str] = "") -> pulumi.Output[str]:
        """The command line for the host."""
        return self.asking(script, name).command(self.user, name, machine)

    def asking(self, script: "Script", name: str) -> "Script":
        """What the host runs."""
        listed = f"/var/lib/cilium-bgp/{self.endpoint}.servers"
        words = script.words("root", name)
        which = [":".join(SOCKETS), listed, self.without, str(self.seconds), alone_as(name)]
        parameters = [*which, *words, *script.parameters]
        return Script("on_server.py", parameters, script.seconds + self.seconds + 60)


@dataclass(frozen=True)
class Script:
    """A file of `scripts/` and its parameters: a shell script, or a Python program where the answer is JSON."""

    file: str
    parameters: Sequence[pulumi.Input[str]] = ()
    """Words given to it as arguments; never a secret (arguments are seen by every user of the machine)."""
    seconds: int = 300
    """It is ended after this time, whatever it waits for."""
    uses: Sequence[str] = ()
    """Other Python programs of `scripts/` that it imports from."""

    def command(self, user: pulumi.Input[str], name: str, machine: pulumi.Input[str] = "") -> pulumi.Output[str]:
        """The command line; one of a stack and a `name` runs at a time on a machine, the newer ends the older.

        It tells the `machine` in a comment, so that it runs again on another one.
        """

        def line(known: Sequence[str]) -> str:
            user, machine, *parameters = known
            return shlex.join([*self.words(user, name, machine), *parameters])

        return pulumi.Output.all(user, machine, *self.parameters).apply(line)

    def within(self, file: str, parameters: Sequence[pulumi.Input[str]]) -> "Script":
        """A script that runs this one, which is the rest of its parameters."""
        return Script(file, [*parameters, *self.program(), *self.parameters], self.seconds + 300)

    def program(self) -> list[str]:
        """The script's text as an argument, so that standard input stays free for secrets; parameters come after."""
        text = (SCRIPTS / self.file).read_text()
        if self.file.endswith(".py"):
            return ["python3", "-c", self.imported() + text]
        return ["sh", "-c", (SCRIPTS / "lib.sh").read_text() + text, self.file]

    def words(self, user: str, name: str, machine: str = "") -> list[str]:
        """The program as root, alone and with its time limit."""
        sudo = [] if user == "root" else ["sudo", "-n"]
        text = (f"# on {machine}\n" if machine else "") + (SCRIPTS / "alone.sh").read_text()
        return [*sudo, "timeout", "-k", "10", str(self.seconds), "sh", "-c", text, alone_as(name), *self.program()]

    def imported(self) -> str:
        package = {"components": "", "components.scripts": ""}
        files = ("awaited.py", *self.uses)
        its = {f"components.scripts.{file.removesuffix('.py')}": (SCRIPTS / file).read_text() for file in files}
        return MODULES.format(package | its)


def api_endpoint(stack: str) -> str:
    """Name of the unit and files of a stack's endpoint of the API, on its host."""
    return f"cilium-bgp-{stack}-api"


def alone_as(name: str) -> str:
    """What alone.sh knows a resource's script by."""
    return f"{pulumi.get_stack()}.{name}"


def run(
    name: str,
    script: Script,
    where: Connection | Servers,
    opts: pulumi.ResourceOptions,
    *,
    stdin: pulumi.Input[str] | None = None,
    delete: Script | None = None,
    again: Sequence[pulumi.Input[str]] = (),
    secret_output: bool = False,
) -> remote.Command:
    """Run `script` when it is new or anything about it changed, and `delete` when the resource goes.

    Every script may run again at any time and then changes only what differs. Secrets go in by `stdin`;
    `secret_output` keeps the output out of logs and encrypted in the state. When one of `again` changes, it runs again.
    """
    if delete:
        before = finalizer(name, delete, where, opts)
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[before]))
    if secret_output:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["stdout"]))
    if isinstance(where, Servers) and where.cluster is not None:
        again = [*again, where.cluster]
    if again:
        # By standard input, which no such script reads: a trigger would replace the resource (pulumi-command 1.2).
        stdin = pulumi.Output.all(*again).apply("\n".join)
    machine = where if isinstance(where, Connection) else where.host
    return remote.Command(
        name,
        connection=machine.arguments(),
        create=command_of(script, where, name, machine.machine),
        stdin=stdin,
        # Standard output is the answer, perhaps one long line, of which the plugin could not log more than 64 KiB.
        logging=remote.Logging.NONE if secret_output else remote.Logging.STDERR,
        add_previous_output_in_env=False,
        opts=opts,
    )


def finalizer(
    name: str,
    script: Script,
    where: Connection | Servers,
    opts: pulumi.ResourceOptions,
    subject: pulumi.Input[str] = "",
) -> Finalizer:
    """Run `script` when the resource goes, or its `subject` becomes another one: before that is made, where it is not
    yet."""
    machine = where if isinstance(where, Connection) else where.host
    return Finalizer(
        f"{name}-finalizer",
        file=script.file,
        command=command_of(script, where, name),
        seconds=script.seconds,
        machine=machine.way(),
        proxy=None if machine.proxy is None else machine.proxy.way(),
        subject=subject,
        opts=opts,
    )


def command_of(
    script: Script, where: Connection | Servers, name: str, machine: pulumi.Input[str] = ""
) -> pulumi.Output[str]:
    if isinstance(where, Servers):
        return where.command(script, name, machine)
    return script.command(where.user, name, machine)


async def run_now(name: str, script: Script, where: Connection | Servers) -> None:
    """Run a script outside of the graph, from the resource hook `name`. Raises when it fails, with what it said."""
    from lxd_resources.transport import dial, heard  # noqa: PLC0415  hooks do not run in a preview

    machine = where if isinstance(where, Connection) else where.host
    hops = (machine,) if machine.proxy is None else (machine.proxy, machine)
    async with contextlib.AsyncExitStack() as stack:
        client: Any = None
        try:
            for hop in hops:
                way = await hop.way().future()
                if way is None:
                    raise RuntimeError("a machine whose address is not known yet cannot be dialled")
                client = await stack.enter_async_context(dial(way, client))
            command = await command_of(script, where, name).future() or ""
            code, said = await heard(
                client, command, script.seconds + 15, lambda line: pulumi.log.info(f"{name}: {line}")
            )
        except TimeoutError as error:  # without a text, which the engine would take for success
            raise RuntimeError(f"{script.file} had not ended {script.seconds + 15} s after it was started") from error
        if code != 0:
            raise RuntimeError(f"{script.file} ended with {code}: {said}")
