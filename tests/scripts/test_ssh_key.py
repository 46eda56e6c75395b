"""ssh_key.sh, with the real ssh-keygen where it is installed."""

import shutil

import pytest

from tests.scripts.machine import Machine

KEYGEN = shutil.which("ssh-keygen")


@pytest.fixture(autouse=True)
def _keygen(machine: Machine) -> None:
    if not KEYGEN:
        pytest.skip("ssh-keygen is not installed")
    machine.fake("ssh-keygen", f'exec {KEYGEN} "$@"')


def test_makes_one_key_and_keeps_it(machine: Machine) -> None:
    first = machine.run("ssh_key.sh")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("ssh-ed25519 AAAA")
    assert first.stdout.count(" ") == 1
    assert (machine.mode("home/.ssh"), machine.mode("home/.ssh/id_ed25519")) == ("0o700", "0o600")
    assert first.stdout.split()[1] in machine.read("home/.ssh/id_ed25519.pub")
    before = machine.files()
    assert machine.run("ssh_key.sh").stdout == first.stdout
    assert machine.files() == before


def test_the_public_half_comes_back_from_the_private_one(machine: Machine) -> None:
    first = machine.run("ssh_key.sh").stdout
    machine.write("home/.ssh/id_ed25519.pub")
    assert machine.run("ssh_key.sh").stdout == first


def test_removal_takes_our_key_and_leaves_theirs(machine: Machine) -> None:
    machine.run("ssh_key.sh")
    assert machine.run("ssh_key_remove.sh").returncode == 0
    assert not list((machine.root / "home/.ssh").iterdir())
    machine.write("home/.ssh/id_ed25519", "theirs")
    machine.write("home/.ssh/id_ed25519.pub", "ssh-ed25519 AAAA me@laptop\n")
    before = machine.files()
    assert machine.run("ssh_key.sh").stdout == "ssh-ed25519 AAAA\n"
    assert machine.run("ssh_key_remove.sh").returncode == 0
    assert machine.files() == before
