"""authorized_keys.sh: who may log in, as sshd would read it."""

import pytest

from tests.scripts.machine import Machine

OLD, NEW, NEXT = (f"ssh-ed25519 AAAAC3{name}" for name in ("old", "new", "next"))
FILE, OURS = "home/.ssh/authorized_keys", "var/lib/cilium-bgp/authorized_keys.root"


@pytest.fixture(autouse=True)
def _root(machine: Machine) -> None:
    machine.write("etc/passwd", f"root:x:0:0::{machine.root}/home:/bin/sh\n")


def allow(machine: Machine, *keys: str, of: str = "others", dies_at: int = 0) -> int:
    done = machine.run("authorized_keys.sh", "root", of, *keys, dies_at=dies_at)
    assert dies_at or done.returncode == 0, done.stderr
    return done.returncode


def who(machine: Machine) -> list[str]:
    return machine.read(FILE).splitlines()


def test_a_key_is_put_there_once_and_goes_when_it_is_not_wanted(machine: Machine) -> None:
    assert allow(machine, NEW) == 0
    assert (who(machine), machine.mode(FILE), machine.mode("home/.ssh")) == ([NEW], "0o600", "0o700")
    before = machine.contents()
    assert allow(machine, NEW) == 0
    assert machine.contents() == before
    assert allow(machine, NEW, NEXT) == 0
    assert who(machine) == [NEW, NEXT]
    assert allow(machine, NEXT) == 0
    assert who(machine) == [NEXT]


@pytest.mark.parametrize(("of", "left"), [("others", [f"{OLD} me@laptop", NEW]), ("own", [NEW])])
def test_what_others_have_put_there_stays_on_their_machine(machine: Machine, of: str, left: list[str]) -> None:
    machine.write(FILE, f"{OLD} me@laptop\n")
    assert allow(machine, OLD, of=of) == 0
    assert who(machine) == [f"{OLD} me@laptop"]
    assert allow(machine, NEW, of=of) == 0
    assert who(machine) == left


def test_a_line_of_theirs_with_options_is_known_by_its_key(machine: Machine) -> None:
    machine.write(FILE, f'from="192.0.2.1" {OLD} me\n# mine\n\n')
    assert allow(machine, OLD, NEW) == 0
    assert who(machine) == [f'from="192.0.2.1" {OLD} me', "# mine", "", NEW]


def test_who_may_enter_may_whatever_was_killed(machine: Machine) -> None:
    machine.write(FILE, f"{OLD} me\n")
    assert allow(machine, OLD, NEW) == 0
    steps = len(machine.ran)
    for step in range(1, steps + 1):
        allow(machine, NEXT, dies_at=step)
        assert OLD in machine.read(FILE)
        assert allow(machine, NEXT) == 0
        assert who(machine) == [f"{OLD} me", NEXT]
        allow(machine, NEW, dies_at=step)
        assert allow(machine, OLD, NEW) == 0
        assert who(machine) == [f"{OLD} me", NEW]


def test_an_unknown_user_is_said(machine: Machine) -> None:
    machine.write("etc/passwd", "")
    done = machine.run("authorized_keys.sh", "root", "own", NEW)
    assert (done.returncode, "no user root on " in done.stderr) == (1, True)
