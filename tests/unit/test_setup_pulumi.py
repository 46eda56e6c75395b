"""Where the Pulumi CLI comes from, with a pulumi, a curl and no Go that the test made."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFICIAL = re.findall(r"^official=(.+)$", (ROOT / "scripts/setup-pulumi").read_text(), re.MULTILINE)[0]

NEEDS = (
    "sh",
    "cat",
    "chmod",
    "date",
    "dirname",
    "grep",
    "gzip",
    "head",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sort",
    "tail",
    "tar",
    "touch",
    "uname",
)


class Machine:
    """A copy of the script and of the pins, and a PATH that holds what a test puts there and the system's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "programs"
        self.programs.mkdir()
        shutil.copytree(ROOT / "tools", root / "tools")
        shutil.copytree(ROOT / "scripts", root / "scripts")
        self.program("curl", "exit 6")
        # Only what the script needs, so that a pulumi or a Go of this machine is not found.
        for name in NEEDS:
            (self.programs / name).symlink_to(str(shutil.which(name)))

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def release(self, checksum: str = "") -> None:
        """Pulumi's release can be downloaded, and its checksums, of which this may be a wrong one."""
        folder = self.root / "release/pulumi"
        folder.mkdir(parents=True)
        for name in ("pulumi", "pulumi-language-python"):
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        archive = self.root / "archive"
        subprocess.run(["tar", "-czf", archive, "-C", self.root / "release", "pulumi"], check=True)
        checksum = checksum or hashlib.sha256(archive.read_bytes()).hexdigest()
        platforms = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")
        lines = [f"{checksum}  pulumi-v{OFFICIAL}-{platform}.tar.gz\n" for platform in platforms]
        (self.root / "checksums").write_text("".join(lines))
        self.program(
            "curl",
            f"""while [ "$1" != -o ]; do shift; done
            case ${{3#https://github.com/pulumi/pulumi/releases/download/v{OFFICIAL}/}} in
            pulumi-{OFFICIAL}-checksums.txt) from=checksums ;;
            pulumi-v{OFFICIAL}-*.tar.gz) from=archive ;;
            esac"""
            f'\ncat {self.root}/$from >"$2"',
        )

    def set_up(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "scripts/setup-pulumi"],
            env={"PATH": str(self.programs), "HOME": os.devnull},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def installed(self) -> set[str]:
        return {path.name for path in (self.root / ".cache/bin").iterdir() if not path.name.startswith(".")}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_new_enough_pulumi_on_path_is_used_and_asked_once(machine: Machine) -> None:
    machine.program("pulumi", "echo v3.300.0")
    first, second = machine.set_up(), machine.set_up()
    assert first.returncode == second.returncode == 0
    assert first.stdout.endswith("pulumi 3.300.0\n")
    assert second.stdout == ""
    assert machine.installed() == set()


def test_replaced_pulumi_on_path_is_asked_again(machine: Machine) -> None:
    machine.program("pulumi", "echo v3.300.0")
    machine.set_up()
    machine.program("pulumi", "echo v3.301.0")
    os.utime(machine.programs / "pulumi", (1, 1))
    assert "3.301.0" in machine.set_up().stdout


@pytest.mark.parametrize("says", ["echo v3.258.9", "echo v2.999.0", "echo nonsense", "exit 1"])
def test_other_pulumi_on_path_is_not_used(machine: Machine, says: str) -> None:
    machine.program("pulumi", says)
    machine.release()
    done = machine.set_up()
    assert done.returncode == 0, done.stdout
    assert "at least 3.259.0 is needed" in done.stdout
    assert machine.installed() == {"pulumi", "pulumi-language-python"}


def test_the_release_is_installed_once(machine: Machine) -> None:
    machine.release()
    assert "installing Pulumi" in machine.set_up().stdout
    assert machine.installed() == {"pulumi", "pulumi-language-python"}
    assert machine.set_up().stdout == ""


def test_what_pulumi_did_not_release_is_not_installed(machine: Machine) -> None:
    machine.release("f" * 64)
    done = machine.set_up()
    assert done.returncode == 1
    assert "is not what Pulumi has released" in done.stdout
    assert machine.installed() == set()


def test_without_release_and_go_it_says_what_is_missing_and_leaves_nothing(machine: Machine) -> None:
    done = machine.set_up()
    assert done.returncode == 1
    assert "Pulumi's releases could not be reached" in done.stdout
    assert "Install Pulumi (https://www.pulumi.com/docs/install/) or Go" in done.stdout
    assert machine.installed() == set()
    assert [path.name for path in (machine.root / ".cache").iterdir()] == ["bin"]
