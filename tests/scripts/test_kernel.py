"""kernel_prepare.sh and kernel_restore.sh. modprobe and sysctl are fakes; /proc and /sys are what each test says."""

import pytest

from tests.scripts.machine import Machine

MODULES = "/etc/modules-load.d/cilium-bgp.conf"
KEPT = "/var/lib/cilium-bgp/sysctl"
SYSCTLS = "/etc/sysctl.d/60-cilium-bgp.conf"


@pytest.fixture(autouse=True)
def _kernel(machine: Machine) -> None:
    machine.write("/proc/modules")
    machine.fake("modprobe", '[ "$2" != absent ] && [ "$2" != builtin ]')
    machine.fake("sysctl", '[ "$1" = -q ] || echo "$1 = 128"')


def test_loads_what_there_is_and_says_what_there_is_not(machine: Machine) -> None:
    (machine.root / "sys/module/builtin").mkdir(parents=True)
    done = machine.run("kernel_prepare.sh", "ip_vs", "absent", "builtin", "overlay")
    assert (done.returncode, done.stdout) == (0, "ip_vs,overlay\n")
    assert done.stderr == "not in this kernel, Cilium may miss them: absent\n"
    assert machine.read(MODULES) == "ip_vs\noverlay\n"
    assert "fs.inotify.max_user_instances = 8192\n" in machine.read(SYSCTLS)
    assert f"sysctl -q -p {SYSCTLS}" in machine.ran
    assert machine.mode(MODULES) == machine.mode(SYSCTLS) == "0o644"


def test_a_second_run_changes_no_file_and_restore_leaves_none(machine: Machine) -> None:
    untouched = machine.files()
    machine.run("kernel_prepare.sh", "ip_vs")
    before = machine.files()
    assert machine.run("kernel_prepare.sh", "ip_vs").stdout == "ip_vs\n"
    assert machine.files() == before
    assert machine.read(KEPT) == "fs.inotify.max_user_instances = 128\n"
    assert machine.run("kernel_restore.sh").returncode == 0
    assert f"sysctl -q -p {KEPT}" in machine.ran
    assert machine.files() == untouched


def test_a_kernel_that_loads_no_modules_is_told(machine: Machine) -> None:
    (machine.root / "proc/modules").unlink()
    done = machine.run("kernel_prepare.sh", "ip_vs")
    assert (done.returncode, done.stdout) == (0, "\n")
    assert done.stderr == "this kernel loads no modules: what the nodes need must be built in\n"
    assert not [line for line in machine.ran if line.startswith("modprobe")]
