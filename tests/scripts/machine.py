"""A machine for a script to run on: this one, in a mount namespace where /etc, /var … are the test's own and PATH has
only programs that say what they were told."""

import asyncio
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from components.remote import Script

COVERED = ["etc", "var", "run", "proc", "sys", "usr/local"]
if Path("/usr/lib/frr").is_dir():
    COVERED.append("usr/lib/frr")  # a host starts without FRR
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
# The programs that a script may take for granted on a minimal Debian or Ubuntu.
READS = "base64 cmp curl cut date dirname env find getent grep head hostname id sha256sum sleep sort stat tail tr uname"
CHANGES = "awk cat chmod chown cp gzip install mkdir mktemp mv rm rmdir sed sh tar timeout"
TOOLS = f"{READS} wc {CHANGES}".split()
# Says what it was told; before step DIES_AT the script and all it started are killed.
PROLOGUE = """#!/bin/sh
printf '%s\\000' "{name} $*" >>"$MACHINE/ran"
printf . >>"$MACHINE/steps"
read -r steps <"$MACHINE/steps" || :
[ "$DIES_AT" = 0 ] || [ ${{#steps}} -lt "$DIES_AT" ] || kill -9 0
"""


@cache
def namespace(more: str = "") -> list[str]:
    """The command that enters a mount namespace of its own, and `more`: n, a network namespace."""
    command = ["unshare", f"-m{more}" if os.geteuid() == 0 else f"-rm{more}"]
    mount = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
    tried = subprocess.run(mount, check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no namespaces to run scripts in: {tried.stderr.strip()}")
    return command


def composed(script: Script, name: str = "test") -> str:
    """The command line as it goes over SSH."""

    async def command() -> str | None:
        return await script.command("root", name).future()

    line = asyncio.run(command())
    assert line is not None
    return line


class Machine:
    """State is kept from one run to the next in `root`."""

    namespaces = ""
    """`n`: without a network."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.covered = [*COVERED]
        self.hurried = False
        for folder in (*COVERED, "usr/local/bin", "tmp", "home", "programs", "tools", "state"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/run/ubuntu:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\nubuntu:x:1000:\n")
        for tool in TOOLS:
            real = shutil.which(tool, path=SYSTEM)
            assert real, f"{tool} is not on this machine"
            self._program("tools", tool, f'exec {Path(real).resolve()} "$@"')
        self.fake("sleep", "exec /usr/bin/sleep 0.02")
        self.write("proc/uptime")

    def _program(self, folder: str, name: str, body: str) -> None:
        file = self.root / folder / name
        file.write_text(PROLOGUE.format(name=name) + body)
        file.chmod(0o755)

    def fake(self, name: str, body: str = "") -> None:
        """A program that pretends: `body` is what it does, in sh; it may keep things in $STATE."""
        self._program("programs", name, f"PATH=/usr/local/bin:{SYSTEM}\n{body}")

    def hurry(self, seconds: int = 30) -> None:
        """So much time passes each time that a script sleeps."""
        self.hurried = True
        self.write("proc/uptime", "0.00 0.00\n")
        self.fake("sleep", f'IFS=. read -r up _ </proc/uptime; echo "$((up + {seconds})).00 0.00" >/proc/uptime')

    def write(self, path: str, text: str = "", mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def mode(self, path: str) -> str:
        return oct((self.root / path.lstrip("/")).stat().st_mode & 0o7777)

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def files(self) -> dict[str, tuple[str, str, int]]:
        """Content, mode and time of every file of the machine and of what the fakes did."""
        return {
            str(file.relative_to(self.root)): (file.read_text(), oct(file.stat().st_mode), file.stat().st_mtime_ns)
            for folder in (*COVERED, "state", "home")
            for file in sorted((self.root / folder).rglob("*"))
            if file.is_file()
        }

    def contents(self) -> dict[str, tuple[str, str]]:
        return {path: (text, mode) for path, (text, mode, _) in self.files().items()}

    def run(
        self, file: str, *parameters: str, stdin: str = "", seconds: int = 30, dies_at: int = 0
    ) -> subprocess.CompletedProcess[str]:
        for record in ("ran", "steps"):
            (self.root / record).write_text("")
        done = subprocess.run(
            self.command(composed(Script(file, parameters, seconds))),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            start_new_session=True,
            env=self.environment(dies_at),
        )
        done.args = [file, *parameters]
        return done

    def command(self, line: str) -> list[str]:
        """What runs a command line on this machine."""
        mounts = " && ".join(f'mount --rbind "$MACHINE/{folder}" /{folder}' for folder in self.covered)
        if not self.hurried:
            mounts = f'mount --bind /proc/uptime "$MACHINE/proc/uptime" && {mounts}'
        path = f"/usr/local/bin:{self.root}/programs:{self.root}/tools"
        return [*namespace(self.namespaces), "sh", "-c", f'{mounts} && PATH={path} && exec sh -c "$1"', "sh", line]

    def environment(self, dies_at: int = 0) -> dict[str, str]:
        return {
            "PATH": SYSTEM,
            "MACHINE": str(self.root),
            "STATE": str(self.root / "state"),
            "DIES_AT": str(dies_at),
            "TMPDIR": str(self.root / "tmp"),
            "HOME": str(self.root / "home"),
            "LC_ALL": "C.UTF-8",
        }

    @property
    def ran(self) -> list[str]:
        """What the last run started, one command line each."""
        return self.read("ran").split("\0")[:-1]

    @property
    def changing_steps(self) -> list[int]:
        """Which of them may change something: to die before each of these is to die in every state there is."""
        return [number for number, line in enumerate(self.ran, 1) if line.split()[0] not in READS.split()]
