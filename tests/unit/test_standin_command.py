"""command:remote:Command's stand-in against a real SSH server in this process, through the engine's protocol."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc

from standin.command import Command
from standin.serve import UNKNOWN, Secret, attached, decode_properties, encode_properties, serve
from tests.unit import ssh

PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), str(Path(__file__).parents[2] / ".cache" / "bin"), os.environ["PATH"]]
)
PROGRAM = """
import json, os, pulumi, pulumi_command as command

fields = json.loads(os.environ["CONNECTION"])
connection = command.remote.ConnectionArgs(
    host=fields["host"], port=fields["port"], host_key=fields["hostKey"], private_key=fields["privateKey"]
)
written = os.environ["WRITTEN"]
token = command.remote.Command(
    "token", connection=connection, stdin=pulumi.Output.secret("canary"), create=f"tee {written}",
    delete=f"rm {written}", logging=command.remote.Logging.NONE, add_previous_output_in_env=False,
    opts=pulumi.ResourceOptions(additional_secret_outputs=["stdout"]),
)
pulumi.export("token", token.stdout)
"""
URN = "urn:pulumi:dev::p::command:remote:Command::installed"
COMMAND = "command:remote:Command"
Stub = provider_pb2_grpc.ResourceProviderStub


@dataclass
class Machine:
    """An SSH server that runs commands by the local shell."""

    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = 0
    sessions: int = 0
    forwarded: list[tuple[str, int]] = field(default_factory=list)

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.sessions += 1
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", process.command or "", env={**os.environ, **process.env},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stdout, stderr = await shell.communicate(await process.stdin.read())
        process.stdout.write(stdout)
        process.stderr.write(stderr)
        code = await shell.wait()
        if code < 0:
            process.exit_with_signal("KILL")
        else:
            process.exit(code)

    def connection(self, **changed: Any) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "privateKey": ssh.USER_KEY.export_private_key().decode(),
            "hostKey": ssh.public(self.host_key),
            "dialErrorLimit": 0,
            "perDialTimeout": 5,
            **changed,
        }


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()

    class Login(asyncssh.SSHServer):
        def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
            machine.forwarded.append((dest_host, dest_port))
            return True

    its = machine.host_key
    with ssh.serving(its, server_factory=Login, process_factory=machine.run, encoding=None) as machine.port:
        yield machine


@pytest.fixture
def stub() -> Iterator[Stub]:
    port, stop = serve(Command)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Stub(channel)
    stop()


def checked(stub: Stub, inputs: dict[str, Any]) -> dict[str, Any]:
    response = stub.Check(provider_pb2.CheckRequest(urn=URN, type=COMMAND, news=encode_properties(inputs)))
    return decode_properties(response.inputs)


def create(stub: Stub, inputs: dict[str, Any], preview: bool = False) -> dict[str, Any]:
    request = provider_pb2.CreateRequest(
        urn=URN, name="installed", type=COMMAND, properties=encode_properties(checked(stub, inputs)), preview=preview
    )
    return decode_properties(stub.Create(request).properties)


def update(stub: Stub, state: dict[str, Any], inputs: dict[str, Any], preview: bool = False) -> dict[str, Any]:
    old_inputs = {key: value for key, value in state.items() if key not in ("stdout", "stderr")}
    request = provider_pb2.UpdateRequest(
        urn=URN, type=COMMAND, olds=encode_properties(state), old_inputs=encode_properties(old_inputs),
        news=encode_properties(checked(stub, inputs)), preview=preview,
    )  # fmt: skip
    return decode_properties(stub.Update(request).properties)


def failure(action: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        action()
    message = caught.value.details()
    assert isinstance(message, str)
    return message


@contextmanager
def logged(stub: Stub) -> Iterator[list[str]]:
    """What the provider writes to an engine's log meanwhile."""
    messages: list[str] = []

    class Engine(engine_pb2_grpc.EngineServicer):
        def Log(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
            messages.append(request.message)
            return empty_pb2.Empty()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(Engine(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address=f"127.0.0.1:{port}"))
    yield messages
    server.stop(None)


def test_output_is_captured_without_its_last_newline(stub: Stub, machine: Machine) -> None:
    outputs = create(stub, {"connection": machine.connection(), "create": "cat; echo; echo no >&2", "stdin": "a\n"})
    assert (outputs["stdout"], outputs["stderr"]) == ("a\n", "no")


def test_connection_is_secret_and_has_the_official_defaults(stub: Stub) -> None:
    connection = checked(stub, {"connection": {"host": "h", "proxy": {"host": "p"}}})["connection"]
    defaults = {"user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
    assert connection == Secret({"host": "h", "proxy": {"host": "p", **defaults}, **defaults})


def test_a_secret_standard_input_stays_secret_and_out_of_the_error(stub: Stub, machine: Machine) -> None:
    inputs = {"connection": machine.connection(), "create": "cat >/dev/null", "stdin": Secret("canary")}
    outputs = create(stub, inputs)
    assert outputs["stdin"] == Secret("canary")
    assert outputs["stdout"] == ""
    message = failure(lambda: create(stub, {**inputs, "create": "cat >/dev/null; echo wrong >&2; exit 3"}))
    assert message == 'Process exited with status 3: running "cat >/dev/null; echo wrong >&2; exit 3":\nwrong\n'


def test_death_by_a_signal_is_named(stub: Stub, machine: Machine) -> None:
    message = failure(lambda: create(stub, {"connection": machine.connection(), "create": "kill -9 $$"}))
    assert message.startswith("Process exited with status 137 from signal KILL: running")


def test_another_host_key_is_refused(stub: Stub, machine: Machine) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    message = failure(lambda: create(stub, {"connection": machine.connection(hostKey=other), "create": "true"}))
    assert message == "after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch"
    assert machine.sessions == 0


def test_an_rsa_host_key_cannot_be_pinned(stub: Stub, machine: Machine) -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key().decode()
    message = failure(lambda: create(stub, {"connection": machine.connection(hostKey=rsa), "create": "true"}))
    assert "no common algorithm for host key" in message


def test_a_stale_agent_is_an_error_though_a_key_is_given(
    stub: Stub, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    inputs = {"connection": machine.connection(), "create": "echo in"}
    assert failure(lambda: create(stub, inputs)) == f"dial unix {agent}: connect: no such file or directory"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(agent))
    assert failure(lambda: create(stub, inputs)) == f"dial unix {agent}: connect: connection refused"
    with socket.socket(socket.AF_UNIX) as listening:
        agent.unlink()
        listening.bind(str(agent))
        listening.listen()
        assert create(stub, inputs)["stdout"] == "in"
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    assert create(stub, inputs)["stdout"] == "in"


def test_another_user_key_is_refused(stub: Stub, machine: Machine) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    message = failure(lambda: create(stub, {"connection": machine.connection(privateKey=other), "create": "true"}))
    assert "unable to authenticate" in message


def test_a_closed_port_is_dialled_as_often_as_allowed(stub: Stub, machine: Machine) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        connection = machine.connection(port=port, dialErrorLimit=2)
        message = failure(lambda: create(stub, {"connection": connection, "create": "true"}))
    assert message.startswith(f"after 2 failed attempts: dial tcp 127.0.0.1:{port}: ")


def test_a_connection_that_is_not_accepted_ends_at_the_dial_timeout(stub: Stub, machine: Machine) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            connection = machine.connection(port=full.getsockname()[1], perDialTimeout=1)
            message = failure(lambda: create(stub, {"connection": connection, "create": "true"}))
    assert message.startswith("after 0 failed attempts: dial tcp")
    assert "timed out" in message


def test_a_proxy_carries_the_connection(stub: Stub, machine: Machine) -> None:
    connection = machine.connection(proxy=machine.connection())
    assert create(stub, {"connection": connection, "create": "echo through"})["stdout"] == "through"
    assert machine.forwarded == [("127.0.0.1", machine.port)]


def test_a_handshake_through_a_proxy_has_one_chance(stub: Stub, machine: Machine) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    connection = machine.connection(hostKey=other, dialErrorLimit=2, proxy=machine.connection())
    message = failure(lambda: create(stub, {"connection": connection, "create": "true"}))
    assert message == "proxy: after 2 failed attempts: ssh: handshake failed: EOF"
    assert len(machine.forwarded) == 1


def test_a_closed_port_behind_a_proxy_is_dialled_as_often_as_allowed(stub: Stub, machine: Machine) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        connection = machine.connection(port=port, dialErrorLimit=2, proxy=machine.connection())
        message = failure(lambda: create(stub, {"connection": connection, "create": "true"}))
    assert message.startswith("proxy: after 2 failed attempts: ssh: rejected: connect failed (")
    assert len(machine.forwarded) == 3


def test_an_error_at_the_proxy_says_so(stub: Stub, machine: Machine) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    connection = machine.connection(proxy=machine.connection(hostKey=other))
    message = failure(lambda: create(stub, {"connection": connection, "create": "true"}))
    assert message == "proxy: after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch"


def test_update_runs_its_own_command_else_that_of_create(stub: Stub, machine: Machine) -> None:
    inputs = {"connection": machine.connection(), "create": "echo created"}
    state = create(stub, inputs)
    assert update(stub, state, {**inputs, "update": "echo updated"})["stdout"] == "updated"
    assert update(stub, state, {**inputs, "stdin": "other"})["stdout"] == "created"


@pytest.mark.parametrize(
    ("inputs", "unknown"),
    [
        ({"environment": {"A": "1"}}, "environment"),
        ({"connection": {"host": "h", "timeout": 1}}, "timeout"),
        ({"connection": {"host": "h", "proxy": {"host": "p", "proxy": {"host": "q"}}}}, "proxy"),
    ],
)
def test_what_it_does_not_know_is_refused(stub: Stub, inputs: dict[str, Any], unknown: str) -> None:
    response = stub.Check(provider_pb2.CheckRequest(urn=URN, type=COMMAND, news=encode_properties(inputs)))
    assert [failure.property for failure in response.failures] == [unknown]


def test_delete_runs_its_command_with_the_connection_of_the_state(stub: Stub, machine: Machine) -> None:
    state = create(stub, {"connection": machine.connection(), "delete": "exit 4"})
    request = provider_pb2.DeleteRequest(urn=URN, type=COMMAND, properties=encode_properties(state))
    assert machine.sessions == 0
    assert 'Process exited with status 4: running "exit 4"' in failure(lambda: stub.Delete(request))
    del state["delete"]
    stub.Delete(provider_pb2.DeleteRequest(urn=URN, type=COMMAND, properties=encode_properties(state)))
    assert machine.sessions == 1


@pytest.mark.parametrize(
    ("changed", "paths", "replaces"),
    [
        ({}, [], []),
        ({"create": "other"}, ["create"], []),
        ({"connection": Secret({"host": "b"})}, ["connection.host"], []),
        ({"triggers": ["2"]}, ["triggers[0]"], ["triggers[0]"]),
        ({"triggers": ["1", "2"]}, ["triggers[1]"], ["triggers[1]"]),
    ],
)
def test_only_triggers_replace(stub: Stub, changed: dict[str, Any], paths: list[str], replaces: list[str]) -> None:
    olds = {"connection": Secret({"host": "a"}), "create": "c", "triggers": ["1"]}
    request = provider_pb2.DiffRequest(
        urn=URN, type=COMMAND, olds=encode_properties({**olds, "stdout": ""}), old_inputs=encode_properties(olds),
        news=encode_properties({**olds, **changed}),
    )  # fmt: skip
    diff = stub.Diff(request)
    assert (sorted(diff.detailedDiff), list(diff.replaces)) == (paths, replaces)
    assert diff.changes == (provider_pb2.DiffResponse.DIFF_SOME if paths else provider_pb2.DiffResponse.DIFF_NONE)


def test_a_preview_dials_nothing_and_knows_no_output(stub: Stub, machine: Machine) -> None:
    inputs = {"connection": machine.connection(), "create": "echo once", "stdin": UNKNOWN}
    outputs = create(stub, inputs, preview=True)
    assert outputs["stdout"] is outputs["stderr"] is outputs["stdin"] is UNKNOWN
    state = create(stub, {**inputs, "stdin": "known"})
    assert update(stub, state, {**inputs, "stdin": "new"}, preview=True)["stdout"] is UNKNOWN
    assert machine.sessions == 1


@pytest.mark.parametrize(
    ("logging", "expected"), [(None, ["out", "err"]), ("none", []), ("stdout", ["out"]), ("stderr", ["err"])]
)
def test_output_is_logged_as_asked(stub: Stub, machine: Machine, logging: str | None, expected: list[str]) -> None:
    inputs = {"connection": machine.connection(), "create": "echo out; echo err >&2"}
    with logged(stub) as messages:
        create(stub, inputs if logging is None else {**inputs, "logging": logging})
    assert sorted(messages) == sorted(expected)


@pytest.mark.parametrize(("logging", "length"), [("none", 65536), (None, 65535), ("stderr", 65536)])
def test_a_long_line_is_fine_unless_it_is_to_be_logged(
    stub: Stub, machine: Machine, logging: str | None, length: int
) -> None:
    inputs = {"connection": machine.connection(), "create": f"printf '%{length}s'", "logging": logging}
    assert len(create(stub, inputs)["stdout"]) == length


def test_a_line_that_is_too_long_to_be_logged_is_refused(stub: Stub, machine: Machine) -> None:
    inputs = {"connection": machine.connection(), "create": "printf '%65536s'"}
    assert "the official plugin would never end" in failure(lambda: create(stub, inputs))


def test_previous_output_is_warned_of_unless_it_is_not_wanted(stub: Stub, machine: Machine) -> None:
    inputs = {"connection": machine.connection(), "create": "echo one", "logging": "none"}
    state = create(stub, inputs)
    with logged(stub) as messages:
        update(stub, state, inputs)
        assert messages == ["Unable to set PULUMI_COMMAND_…: sshd accepts no such variables by default"]
        update(stub, state, {**inputs, "addPreviousOutputInEnv": False})
    assert len(messages) == 1


@pytest.mark.engine
@pytest.mark.skipif(not shutil.which("pulumi", path=PATH), reason="no pulumi on PATH or in .cache/bin")
def test_the_engine_runs_it_and_keeps_its_secrets(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: tiny\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    written = tmp_path / "written"
    served = serve(Command)
    environment = {
        **os.environ,
        "PATH": PATH,
        "CONNECTION": json.dumps(machine.connection()),
        "WRITTEN": str(written),
        **attached({"command": served}),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "for this test only",
    }

    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--stack", "dev"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    pulumi("stack", "init")
    output = pulumi("up", "--yes", "--skip-preview")
    assert written.read_text() == "canary"
    assert pulumi("stack", "output", "token", "--show-secrets").strip() == "canary"
    output += pulumi("preview", "--diff", "--expect-no-changes") + pulumi("stack", "export")
    output += pulumi("destroy", "--yes", "--skip-preview")
    assert not written.exists()
    assert "canary" not in output
    assert "PRIVATE KEY" not in output
    served[1]()
