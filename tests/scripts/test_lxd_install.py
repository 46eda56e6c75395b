"""lxd_install.sh. Package managers, systemd and LXD's API are fakes."""

import socket

import pytest

from tests.scripts.machine import Machine

SNAP = "/var/snap/lxd/common/lxd/unix.socket"
DEBIAN = "/var/lib/lxd/unix.socket"


def listens(path: str) -> str:
    """What a fake does to bring LXD up: a socket is there, and the fake curl answers for it."""
    return f'\nmkdir -p "$(dirname {path})"; cp -a "$STATE/socket" {path}; echo {path} >>"$STATE/answers"'


@pytest.fixture(autouse=True)
def _host(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.fake("curl", 'while [ "$1" != --unix-socket ]; do shift; done; grep -qxF "$2" "$STATE/answers"')
    machine.fake("journalctl", 'echo "the journal: $*"')
    machine.write("state/answers")
    monkeypatch.chdir(machine.root / "state")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")


def runs_already(machine: Machine, path: str) -> None:
    machine.write(path)
    (machine.root / "state/socket").rename(machine.root / path[1:])
    machine.write("state/answers", f"{path}\n")


def systemd(machine: Machine, body: str = "") -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.fake("systemctl", body)


@pytest.mark.parametrize("path", [SNAP, DEBIAN])
def test_adopts_an_lxd_that_answers(machine: Machine, path: str) -> None:
    runs_already(machine, path)
    machine.fake("iptables")
    machine.fake("snap")
    machine.fake("apt-get")
    before = machine.files()
    done = machine.run("lxd_install.sh", "5")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n", "")
    assert not [line for line in machine.ran if line.startswith(("snap ", "apt-get "))]
    assert machine.files() == before


def test_installs_the_snap_where_snapd_runs(machine: Machine) -> None:
    systemd(machine)
    machine.fake("snap", f'[ "$1" != install ] || {{ {listens(SNAP)}\n}}')
    done = machine.run("lxd_install.sh", "5")
    assert (done.returncode, done.stdout) == (0, f"{SNAP}\n"), done.stderr
    assert [line for line in machine.ran if line.startswith("snap ")] == [
        "snap wait system seed.loaded",
        "snap install lxd --channel=5.21/stable",
    ]
    assert machine.run("lxd_install.sh", "5").stdout == f"{SNAP}\n"
    assert not [line for line in machine.ran if line.startswith("snap ")], "a second run installed again"


@pytest.mark.parametrize(("path", "unit"), [(SNAP, "snap.lxd.daemon.service"), (DEBIAN, "lxd.service")])
def test_lxd_starts_at_boot_whoever_asks_it_for_something(machine: Machine, path: str, unit: str) -> None:
    runs_already(machine, path)
    machine.fake("iptables")
    systemd(machine, f'[ "$1" != cat ] || [ "$2" = {unit} ]')
    assert machine.run("lxd_install.sh", "5").returncode == 0
    wanted = [line for line in machine.ran if line.startswith("systemctl --quiet add-wants")]
    assert wanted == [f"systemctl --quiet add-wants multi-user.target {unit}"]


def test_installs_the_package_where_there_is_no_snapd(machine: Machine) -> None:
    machine.fake("apt-get", f'[ "${{4}}" != install ] || {{ {listens(DEBIAN)}\n}}')
    done = machine.run("lxd_install.sh", "5")
    assert (done.returncode, done.stdout) == (0, f"{DEBIAN}\n"), done.stderr
    installed = [line.partition("--no-install-recommends ")[2] for line in machine.ran if " install " in line]
    assert installed[-2:] == ["lxd dnsmasq-base", "iptables"]


@pytest.mark.parametrize("firewall", ["iptables", "nft"])
def test_a_package_without_what_its_bridge_needs_gets_it(machine: Machine, firewall: str) -> None:
    runs_already(machine, DEBIAN)
    machine.fake("apt-get")
    assert machine.run("lxd_install.sh", "5").stdout == f"{DEBIAN}\n"
    assert [line for line in machine.ran if line.endswith(" install -y --no-install-recommends iptables")]
    machine.fake(firewall)
    assert machine.run("lxd_install.sh", "5").stdout == f"{DEBIAN}\n"
    assert not [line for line in machine.ran if line.startswith("apt-get")]


def test_starts_an_lxd_that_is_installed(machine: Machine) -> None:
    systemd(machine, f'[ "$*" = "start lxd.socket lxd.service" ] || exit 5{listens(DEBIAN)}')
    machine.fake("iptables")
    machine.fake("lxd")
    machine.fake("snap")
    done = machine.run("lxd_install.sh", "5")
    assert (done.returncode, done.stdout) == (0, f"{DEBIAN}\n"), done.stderr
    assert not [line for line in machine.ran if line.startswith("snap ")]


def test_the_command_of_ubuntus_lxd_installer_is_no_lxd(machine: Machine) -> None:
    systemd(machine, '[ "$1" != start ]')
    machine.fake("lxd")
    machine.fake("snap", f'[ "$1" != install ] || {{ {listens(SNAP)}\n}}')
    done = machine.run("lxd_install.sh", "5")
    assert (done.returncode, done.stdout) == (0, f"{SNAP}\n"), done.stderr


def test_says_what_it_waited_for_when_lxd_never_answers(machine: Machine) -> None:
    machine.fake("apt-get")
    done = machine.run("lxd_install.sh", "1")
    assert done.returncode == 1
    assert "LXD's API on " in done.stderr
    assert f"not within 1 s; last seen: no answer on {SNAP} {DEBIAN}\nthe journal: " in done.stderr


def test_says_which_systems_will_do_where_there_is_no_apt(machine: Machine) -> None:
    done = machine.run("lxd_install.sh", "5")
    assert done.returncode == 1
    assert "this system has no apt-get; Debian 12 or Ubuntu 22.04 and later are supported" in done.stderr


def test_an_installation_that_hangs_ends(machine: Machine) -> None:
    systemd(machine)
    machine.fake("snap", "exec /bin/sleep 60")
    done = machine.run("lxd_install.sh", "1")
    assert done.returncode == 1
    assert done.stderr.endswith("snapd was not ready within 1 s of the first boot\n")


@pytest.mark.parametrize(("tool", "says", "message"), [("id", "1000", "needs root"), ("uname", "Darwin", "need Linux")])
def test_refuses_a_host_that_cannot(machine: Machine, tool: str, says: str, message: str) -> None:
    machine.fake(tool, f"echo {says}")
    done = machine.run("lxd_install.sh", "5")
    assert done.returncode == 1
    assert message in done.stderr
