"""node_prepare.sh. systemd and findmnt are fakes."""

from collections.abc import Callable

import pytest

from tests.scripts.machine import Machine

UNIT = "/etc/systemd/system/cilium-bgp-mounts.service"


def node(machine: Machine) -> Machine:
    (machine.root / "sys/fs/bpf").mkdir(parents=True)
    machine.write("/proc/sys/net/ipv4/ip_default_ttl", "64\n")
    machine.write("/etc/machine-id", "0123456789abcdef\n")
    machine.fake("systemctl", f'[ "$1" = enable ] || cat /etc/systemd/*.d/* {UNIT} >"$STATE/$1"')
    machine.fake("findmnt", "echo bpf")
    return machine


def test_mounts_now_and_at_every_boot(machine: Machine) -> None:
    done = node(machine).run("node_prepare.sh")
    assert (done.returncode, done.stdout[:24]) == (0, "bpf file system: device "), done.stderr
    assert done.stdout.splitlines()[-1] == "0123456789abcdef", (
        "by which the cluster's former node is told from this one"
    )
    assert [line for line in machine.ran if line.startswith("systemctl")] == [
        "systemctl daemon-reload",
        "systemctl enable --quiet cilium-bgp-mounts",
        "systemctl restart cilium-bgp-mounts",
        "systemctl try-restart systemd-networkd",
    ]
    assert machine.read("/proc/sys/net/ipv4/ip_default_ttl") == "255\n"
    assert machine.read("/etc/sysctl.d/60-cilium-bgp.conf") == "net.ipv4.ip_default_ttl = 255\n"
    before = machine.files()
    assert machine.run("node_prepare.sh").returncode == 0
    assert machine.files() == before
    assert not [line for line in machine.ran if line.startswith("systemctl")]


@pytest.mark.chaos
def test_a_run_killed_anywhere_is_made_good_by_the_next(new_machine: Callable[[], Machine]) -> None:
    whole = node(new_machine())
    whole.run("node_prepare.sh")
    wanted = whole.contents()
    for step in whole.changing_steps:
        machine = node(new_machine())
        assert machine.run("node_prepare.sh", dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run("node_prepare.sh").returncode == 0
        assert machine.contents() == wanted, f"after death at {died_at}"


def test_says_what_is_mounted_instead(machine: Machine) -> None:
    node(machine).fake("findmnt", "echo tmpfs")
    done = machine.run("node_prepare.sh")
    assert (done.returncode, done.stderr) == (1, "/sys/fs/bpf is tmpfs, not bpf\n")
