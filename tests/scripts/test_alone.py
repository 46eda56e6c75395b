"""One run of a script at a time on a machine: alone.sh around every command."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components import remote
from components.remote import SCRIPTS, SHARED, Script
from tests.scripts.machine import Machine, composed

# Works in a process group of its own, as an installer under its own time limit does, until $STATE/enough is there.
WORKS = """
limited 60 sh -c 'while ! [ -e "$STATE/enough" ]; do printf . >>"$STATE/works"; /usr/bin/sleep 0.05; done' </dev/null
echo done
"""


@pytest.fixture(autouse=True)
def _scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    for file in SHARED:
        shutil.copy(SCRIPTS / file, folder)
    (folder / "works.sh").write_text(WORKS)
    (folder / "works.py").write_text('import subprocess\nsubprocess.run(["/usr/bin/sleep", "60"])\nprint("done")\n')
    (folder / "next.sh").write_text('[ -e "$STATE/enough" ] || : >"$STATE/enough"\ncat "$STATE/works"\n')
    monkeypatch.setattr(remote, "SCRIPTS", folder)


Start = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(machine: Machine) -> Iterator[Start]:
    """Starts a script under a name and goes on."""
    machine.covered.remove("proc")
    for record in ("ran", "steps", "state/works"):
        (machine.root / record).write_text("")
    started: list[subprocess.Popen[str]] = []

    def begin(file: str, name: str) -> "subprocess.Popen[str]":
        line = composed(Script(file), name)
        child = subprocess.Popen(
            machine.command(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=machine.environment(),
            start_new_session=True,
        )
        started.append(child)
        return child

    yield begin
    machine.write("state/enough")
    for child in started:
        child.communicate(timeout=30)


def await_(seen: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.05)


def works(machine: Machine) -> bool:
    before = machine.read("state/works")
    time.sleep(0.5)
    return machine.read("state/works") != before


def records(machine: Machine) -> list[str]:
    return sorted(file.name for file in (machine.root / "run").iterdir() if file.name.startswith("cilium-bgp."))


def test_a_newer_run_ends_the_older_with_all_it_started_before_it_begins(machine: Machine, start: Start) -> None:
    older = start("works.sh", "k3s1")
    await_(lambda: machine.read("state/works"))
    newer = start("next.sh", "k3s1")
    said, complained = newer.communicate(timeout=30)
    assert (newer.returncode, complained) == (0, "k3s1: ending the one of an earlier run\n")
    assert older.wait(timeout=30) != 0
    assert machine.read("state/works") == said.strip(), "it still worked when the newer one began"
    assert records(machine) == []


def test_a_newer_run_ends_an_older_program_in_python_too(machine: Machine, start: Start) -> None:
    machine.fake("python3", f'exec {sys.executable} "$@"')
    older = start("works.py", "proof")
    await_(lambda: records(machine) == ["cilium-bgp.stack.proof"])
    assert start("next.sh", "proof").wait(timeout=30) == 0
    assert older.wait(timeout=30) != 0


def test_others_work_side_by_side(machine: Machine, start: Start) -> None:
    older = start("works.sh", "k3s2-joined")
    await_(lambda: machine.read("state/works"))
    assert start("next.sh", "k3s3-joined").wait(timeout=30) == 0
    assert older.communicate(timeout=30)[0] == "done\n"


def test_what_was_killed_outright_stops_nobody(machine: Machine, start: Start) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    machine.write("run/cilium-bgp.stack.k3s1", f"{bystander.pid} 1\n")
    assert start("next.sh", "k3s1").wait(timeout=30) == 0
    assert bystander.poll() is None, "another process that has the number now"
    bystander.kill()
    bystander.wait()


def test_a_script_ends_with_the_connection_that_it_came_by(machine: Machine, tmp_path: Path) -> None:
    machine.covered.remove("proc")
    for record in ("ran", "steps", "state/works"):
        (machine.root / record).write_text("")
    sshd = tmp_path / "sshd-session"  # named as OpenSSH's, which waits for the command
    shutil.copy("/bin/sh", sshd)
    command = [str(sshd), "-c", '"$@" & wait', "sshd", *machine.command(composed(Script("works.sh"), "k3s1"))]
    session = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=machine.environment(), start_new_session=True,
    )  # fmt: skip
    await_(lambda: machine.read("state/works"))
    assert works(machine)
    session.send_signal(signal.SIGKILL)
    session.wait()
    await_(lambda: not works(machine))
    assert not works(machine)


def test_the_clock_is_not_asked(machine: Machine) -> None:
    asked = [
        file.name for file in SCRIPTS.glob("*.*") if "date +%s" in file.read_text() or "time.time" in file.read_text()
    ]
    assert asked == []
