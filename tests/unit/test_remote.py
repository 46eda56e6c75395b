"""Command lines: words of the shell's language stay words, and every run has an end."""

import asyncio
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import remote
from components.remote import SCRIPTS, SHARED, Connection, Script, Servers
from lxd_resources.endpoint import SOCKETS
from tests.unit.graph import registered, taken_apart
from tests.unit.ssh import Machine, two_machines

PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def command(script: Script, user: str = "root") -> str:
    """The command line for `user`."""

    def run() -> None:
        connection = Connection(host="192.0.2.10", private_key="key", host_key="ssh-ed25519 AAAAhost", user=user)
        remote.run("it", script, connection, pulumi.ResourceOptions())

    line: str = registered(run, preview=True)["it"].inputs["create"]
    return line


@pytest.mark.parametrize("file", sorted(path.name for path in SCRIPTS.glob("*.*") if path.name not in SHARED))
def test_the_whole_script_is_in_the_command_line_after_what_all_share(file: str) -> None:
    text = (SCRIPTS / file).read_text()
    line = command(Script(file, ["a b", "c"], seconds=7))
    if file != "on_server.py":
        ran = taken_apart(line)
        assert (ran.file, ran.parameters, ran.seconds, ran.sudo) == (file, ("a b", "c"), 7, False)
    alone = ["sh", "-c", (SCRIPTS / "alone.sh").read_text(), "dev.it"]
    words = shlex.split(line)
    if file.endswith(".py"):
        assert words[:-3] == ["timeout", "-k", "10", "7", *alone, "python3", "-c"]
        assert repr((SCRIPTS / "awaited.py").read_text()) in words[-3].removesuffix(text)
        assert words[-3:] == [words[-3].removesuffix(text) + text, "a b", "c"]
    else:
        shared = (SCRIPTS / "lib.sh").read_text()
        assert words == ["timeout", "-k", "10", "7", *alone, "sh", "-c", shared + text, file, "a b", "c"]


def test_another_machine_is_another_command_line() -> None:
    def run() -> None:
        connection = Connection(host="192.0.2.10", private_key="key", host_key="ssh-ed25519 AAAA", machine="4711")
        for script in ("ssh_key.sh", "proof.py"):
            remote.run(script, Script(script, ["word"]), connection, pulumi.ResourceOptions())

    for its in registered(run):
        here = command(Script(its.name, ["word"])).replace("dev.it", f"dev.{its.name}")
        assert its.inputs["create"] == here.replace(" -c '", " -c '# on 4711\n", 1)
        assert its.ran() == taken_apart(here)


def test_a_script_for_any_server_goes_to_the_host_with_limits_of_its_own_inside() -> None:
    host = Connection(host="192.0.2.10", private_key="key", host_key="ssh-ed25519 AAAAhost", user="admin")
    servers = Servers(host, "cilium-bgp-dev-api", "skip")
    opts = pulumi.ResourceOptions()

    def run() -> None:
        remote.run("it", Script("node_joined.sh", ["k3s2", "9"], 70), servers, opts)

    its = registered(run)["it"]
    words = shlex.split(its.inputs["create"])
    assert words[:6] == ["sudo", "-n", "timeout", "-k", "10", "250"]
    listed = "/var/lib/cilium-bgp/cilium-bgp-dev-api.servers"
    which = [":".join(SOCKETS), listed, "skip", "120", "dev.it"]
    assert words[13:18] == which
    assert words[18:22] == ["timeout", "-k", "10", "70"], "it works in the server when nobody is left on the host"
    ran = its.ran()
    assert (ran.file, ran.parameters, ran.seconds, ran.on_server) == ("node_joined.sh", ("k3s2", "9"), 70, True)


def test_sudo_that_asks_nothing_for_any_user_but_root() -> None:
    assert command(Script("ssh_key.sh"), "admin").startswith("sudo -n timeout -k 10 300 sh -c ")
    assert command(Script("ssh_key.sh"), "root").startswith("timeout -k 10 300 sh -c ")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scripts that print their arguments and their standard input."""
    folder = tmp_path_factory.mktemp("scripts")
    for file in ("alone.sh", "awaited.py"):
        shutil.copy(SCRIPTS / file, folder)
    (folder / "lib.sh").write_text("set -eu\n")
    (folder / "echo.sh").write_text(f'python3 -c "{PRINT_ARGUMENTS}" "$0" "$@"\ncat\n')
    (folder / "echo.py").write_text(f'"""It.\n\nusage: echo.py WORD…\n"""\n{PRINT_ARGUMENTS}\n')
    (folder / "slow.sh").write_text("sleep 30\n")
    return folder


@settings(max_examples=6, deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, max_size=6)
)
def test_parameters_reach_the_script_as_they_are(scripts: Path, words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "SCRIPTS", scripts)
        for file, before in (("echo.sh", ["echo.sh"]), ("echo.py", [])):
            ran = subprocess.run(
                ["sh", "-c", command(Script(file, words))], input="", capture_output=True, text=True, check=True
            )
            assert json.loads(ran.stdout) == [*before, *words]


def test_standard_input_is_left_to_the_script(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SCRIPTS", scripts)
    line = command(Script("echo.sh"))
    assert subprocess.run(
        ["sh", "-c", line], input="secret", capture_output=True, text=True, check=True
    ).stdout.endswith("secret")


def test_a_script_is_ended_after_its_seconds(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SCRIPTS", scripts)
    ended = subprocess.run(["sh", "-c", command(Script("slow.sh", seconds=1))], timeout=20, check=False)
    assert ended.returncode == 124


# run_now: without the engine, over real SSH


def connection(machine: Machine, user: str = "root") -> Connection:
    return Connection(
        host="127.0.0.1",
        port=machine.port,
        user=user,
        private_key=machine.private_key,
        host_key=machine.host_key,
    )


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines, the second to be reached through the first."""
    with two_machines() as both:
        yield both


def test_a_hook_runs_a_script_through_the_proxy(machines: tuple[Machine, Machine]) -> None:
    host, node = machines
    through = replace(connection(node, "ubuntu"), proxy=connection(host))
    registered(lambda: remote.run_now("hook", Script("ssh_key.sh", ["word"], 60), through))
    assert host.commands == []
    (line,) = node.commands
    ran = taken_apart(line)
    assert (ran.file, ran.parameters, ran.seconds, ran.sudo) == ("ssh_key.sh", ("word",), 60, True)


def test_a_hook_runs_a_script_on_the_host_itself(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    registered(lambda: remote.run_now("hook", Script("ssh_key.sh"), connection(host)))
    assert [taken_apart(line).sudo for line in host.commands] == [False]


def test_a_hook_that_fails_says_what_the_script_said(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.code, host.said = 3, "it said why\n"
    with pytest.raises(RuntimeError, match=r"ssh_key\.sh ended with 3: it said why"):
        registered(lambda: remote.run_now("hook", Script("ssh_key.sh"), connection(host)))
    assert len(host.commands) == 1


def test_what_a_hooks_script_waits_for_is_told(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = machines
    host.said = "evicting a pod\nwaiting for a pod: last seen Pending (15 of 60 s)\n"
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    registered(lambda: remote.run_now("k3s2-leaves", Script("ssh_key.sh"), connection(host)))
    assert told == ["k3s2-leaves: waiting for a pod: last seen Pending (15 of 60 s)"]


@pytest.mark.parametrize("hop", ["host", "proxy"])
def test_a_hook_speaks_to_no_machine_with_another_key(machines: tuple[Machine, Machine], hop: str) -> None:
    host, node = machines
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    if hop == "host":
        through = replace(connection(node, "ubuntu"), proxy=connection(host), host_key=other)
    else:
        through = replace(connection(node, "ubuntu"), proxy=replace(connection(host), host_key=other))
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        registered(lambda: remote.run_now("hook", Script("ssh_key.sh"), through))
    assert node.commands == []


def test_a_hook_does_not_dial_what_is_not_known(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines

    async def unknown() -> None:
        def done(value: object) -> "asyncio.Future[object]":
            future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            future.set_result(value)
            return future

        address: pulumi.Output[str] = pulumi.Output(done(set()), done(None), done(False))  # type: ignore[arg-type]
        await remote.run_now("hook", Script("ssh_key.sh"), replace(connection(host), host=address))

    with pytest.raises(RuntimeError, match="not known yet"):
        registered(unknown)
    assert host.commands == []
