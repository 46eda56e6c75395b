"""What every script relies on: lib.sh. apt-get and dpkg are fakes."""

import shutil
import subprocess

import pytest

from components.remote import SCRIPTS, SHARED
from tests.scripts.machine import Machine

SHELL = sorted(file.name for file in SCRIPTS.glob("*.sh") if file.name not in SHARED)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("file", SHELL)
def test_shellcheck_finds_nothing_in_what_is_run(file: str) -> None:
    text = (SCRIPTS / "lib.sh").read_text() + (SCRIPTS / file).read_text()
    checked = subprocess.run(["shellcheck", "-x", "-"], input=text, capture_output=True, text=True, check=False)
    assert checked.stdout == ""
    assert checked.returncode == 0


def test_a_command_that_hangs_is_ended_with_what_was_awaited(machine: Machine) -> None:
    machine.fake("k3s", "[ -e $STATE/once ] && exec /bin/sleep 60; : >$STATE/once; echo 'connection refused'; exit 1")
    done = machine.run("node_joined.sh", "k3s2", "50", seconds=1)
    assert done.returncode == 124
    assert done.stderr.endswith(
        "node_joined.sh: stopped by its time limit, or by a newer run, while it awaited node k3s2 in the cluster, "
        "Ready if others are; last seen: connection refused\n"
    )


def test_a_package_manager_cannot_take_the_secret_on_standard_input(machine: Machine) -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    (machine.root / "tools/curl").unlink()
    machine.fake("apt-get", 'cat >>"$STATE/taken"')
    machine.run("ngrok.sh", "10.26.23.35", "http://127.0.0.1:9/", stdin="token")
    assert machine.read("state/taken") == ""
    assert "authtoken: 'token'\n" in machine.read("/etc/ngrok/cilium-bgp.yml")


@pytest.mark.parametrize("mends", [True, False])
def test_an_installation_that_was_cut_off_is_finished_first(machine: Machine, mends: bool) -> None:
    says = "echo 'E: dpkg was interrupted' >&2; exit 100"
    machine.fake("apt-get", f'[ "$4" != install ] || [ -e "$STATE/configured" ] || {{ {says}; }}')
    machine.fake("dpkg", ': >"$STATE/configured"' if mends else "exit 1")
    (machine.root / "home/.ssh").mkdir()
    (machine.root / "home/.ssh/id_ed25519").write_text("a key")
    (machine.root / "home/.ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA root@host\n")
    done = machine.run("ssh_key.sh")
    assert "dpkg --configure -a" in machine.ran
    if mends:
        assert (done.returncode, done.stdout) == (0, "ssh-ed25519 AAAA\n")
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("E: dpkg was interrupted\napt-get -o ")
        assert done.stderr.endswith(" openssh-client: failed; its lines are above\n")


def test_package_lists_that_another_holds_are_waited_for(machine: Machine) -> None:
    machine.fake("apt-get", '[ "$1" = -qq ] && { echo "E: Could not get lock"; exit 100; }')
    machine.hurry(200)
    done = machine.run("ssh_key.sh")
    assert done.returncode == 1
    assert done.stderr == "apt-get update: not within 120 s; last seen: E: Could not get lock\n"


def test_a_long_wait_says_every_15_seconds_what_for_and_what_was_last_seen(machine: Machine) -> None:
    machine.fake("k3s", "echo 'k3s1 Ready'; read -r up _ </proc/uptime; [ ${up%.*} -lt 40 ] || echo 'k3s2 Ready'")
    machine.hurry(5)
    done = machine.run("node_joined.sh", "k3s2", "90")
    assert (done.returncode, done.stdout) == (0, "k3s2 Ready\n")
    said = "waiting for node k3s2 in the cluster, Ready if others are: last seen k3s2 is not there"
    assert done.stderr == f"{said} (15 of 90 s)\n{said} (30 of 90 s)\n"
