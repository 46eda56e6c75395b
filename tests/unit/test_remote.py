"""Command lines: words of the shell's language stay words, and every run has an end."""

import json
import shlex
import subprocess
from pathlib import Path

import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import remote
from components.remote import SCRIPTS, Connection, Script
from tests.unit.graph import registered, taken_apart

PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def command(script: Script, user: str = "root") -> str:
    """The command line for `user`."""

    def run() -> None:
        connection = Connection(host="192.0.2.10", private_key="key", host_key="ssh-ed25519 AAAAhost", user=user)
        remote.run("it", script, connection, pulumi.ResourceOptions())

    line: str = registered(run, preview=True)["it"].inputs["create"]
    return line


@pytest.mark.parametrize("file", sorted(path.name for path in SCRIPTS.iterdir() if path.name != "lib.sh"))
def test_the_whole_script_is_in_the_command_line_after_what_all_share(file: str) -> None:
    text = (SCRIPTS / file).read_text()
    line = command(Script(file, ["a b", "c"], seconds=7))
    ran = taken_apart(line)
    assert (ran.file, ran.parameters, ran.seconds, ran.sudo) == (file, ("a b", "c"), 7, False)
    words = shlex.split(line)
    if file.endswith(".py"):
        assert words == ["timeout", "-k", "10", "7", "python3", "-c", text, "a b", "c"]
    else:
        shared = (SCRIPTS / "lib.sh").read_text()
        assert words == ["timeout", "-k", "10", "7", "sh", "-c", shared + text, file, "a b", "c"]


def test_sudo_that_asks_nothing_for_any_user_but_root() -> None:
    assert command(Script("ssh_key.sh"), "admin").startswith("sudo -n timeout -k 10 300 sh -c ")
    assert command(Script("ssh_key.sh"), "root").startswith("timeout -k 10 300 sh -c ")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scripts that print their arguments and their standard input."""
    folder = tmp_path_factory.mktemp("scripts")
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
