"""What frr.sh and frr_restore.sh do to a host's files and services; FRR, systemd and apt-get are fakes.

With the real FRR: test_frr.py.
"""

import shutil
from collections.abc import Callable

import pytest

from tests.scripts.machine import Machine

COMMAND = ("frr.sh", "10.26.23.1", "lxdbr0")
CONF = "router bgp 64512\n neighbor NODES remote-as 64512\n neighbor NODES password {}\n neighbor 10.26.23.11\n"
SECRET = "hunter2hunter2"
DAEMONS = 'bgpd=no\nbgpd_options="   -A 127.0.0.1"\n'
LISTENS = "LISTEN 0 4096 10.26.23.1:179 0.0.0.0:*"
PACKAGE = f"""
[ ! -d /usr/lib/frr ] || : >/usr/lib/frr/frr-reload.py
[ -e /etc/frr ] || {{
    mkdir -p /etc/frr
    echo 'log syslog' >/etc/frr/frr.conf
    printf '%s' '{DAEMONS}' >/etc/frr/daemons
}}
"""
SYSTEMCTL = """
case "$1" in
restart | reload) cat /etc/frr/daemons /etc/frr/frr.conf >"$STATE/running" ;;
start) [ -e "$STATE/running" ] || cat /etc/frr/daemons /etc/frr/frr.conf >"$STATE/running" ;;
stop) rm -f "$STATE/running" ;;
status) [ -e "$STATE/running" ] ;;
esac
"""


def host(machine: Machine) -> Machine:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.write("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n")
    machine.fake("ip", 'echo "2: lxdbr0    inet 10.26.23.1/24 scope global lxdbr0"')
    machine.fake("ss", f"[ ! -e $STATE/running ] || echo '{LISTENS}'")
    machine.fake("sysctl")
    machine.fake("chown")
    machine.fake("apt-get", PACKAGE)
    machine.fake("systemctl", SYSTEMCTL)
    machine.fake("journalctl", 'echo "the journal: $*"')
    return machine


@pytest.mark.parametrize(("version", "left"), [("8.1", False), ("8.3", True)])
def test_an_older_frr_is_not_told_what_it_does_not_know(machine: Machine, version: str, left: bool) -> None:
    host(machine)
    known = "bgp graceful-restart notification" if version == "8.3" else "bgp graceful-restart stalepath-time"
    machine.fake("apt-get", PACKAGE + f"echo '{known}' >/usr/lib/frr/bgpd")
    conf = CONF.format(SECRET) + " no bgp graceful-restart notification\n bgp graceful-restart stalepath-time 30\n"
    assert machine.run(*COMMAND, stdin=conf).returncode == 0
    written = machine.read("/etc/frr/frr.conf")
    assert ("notification" in written) == left
    assert written.endswith(" bgp graceful-restart stalepath-time 30\n")
    before = machine.files()
    assert machine.run(*COMMAND, stdin=conf).returncode == 0
    assert machine.files() == before


def service(machine: Machine) -> list[str]:
    return [line.split()[1] for line in machine.ran if line.endswith(" frr") and line.startswith("systemctl ")]


def test_installs_then_reloads_or_restarts_as_the_change_needs(machine: Machine) -> None:
    conf = CONF.format(SECRET)
    done = host(machine).run(*COMMAND, stdin=conf)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10.26.23.1\n", "")
    assert machine.read("state/running").endswith(conf)
    assert 'bgpd=yes\nbgpd_options="   -A 127.0.0.1 -l 10.26.23.1"\n' in machine.read("/etc/frr/daemons")
    assert machine.mode("/etc/frr/frr.conf") == "0o640"
    assert SECRET not in "\n".join(machine.ran)

    before = machine.files()
    assert machine.run(*COMMAND, stdin=conf).returncode == 0
    assert service(machine) == ["enable", "start"]
    assert machine.files() == before

    for changed, how in [
        (conf + " neighbor 10.26.23.12\n", "reload"),
        (conf.replace(SECRET, "other"), "restart"),
        (conf.replace("bgp 64512", "bgp 64513"), "restart"),
        (conf.replace("remote-as 64512", "remote-as 64513"), "restart"),
    ]:
        machine.run(*COMMAND, stdin=conf)
        assert machine.run(*COMMAND, stdin=changed).returncode == 0
        assert service(machine)[-1] == how
        assert machine.read("state/running").endswith(changed)
        assert SECRET not in "\n".join(machine.ran)


@pytest.mark.chaos
@pytest.mark.parametrize("runs", [False, True])
def test_a_run_killed_anywhere_is_made_good_by_the_next(new_machine: Callable[[], Machine], runs: bool) -> None:
    older = host(new_machine())
    if runs:
        older.run(*COMMAND, stdin=CONF.replace("10.26.23.11", "10.26.23.12"))

    def prepared() -> Machine:
        machine = host(new_machine())
        shutil.copytree(older.root, machine.root, dirs_exist_ok=True)
        return machine

    whole = prepared()
    whole.run(*COMMAND, stdin=CONF)
    wanted = whole.contents()
    for step in whole.changing_steps:
        machine = prepared()
        assert machine.run(*COMMAND, stdin=CONF, dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run(*COMMAND, stdin=CONF).returncode == 0, f"after death at {died_at}"
        assert machine.contents() == wanted, f"after death at {died_at}"


@pytest.mark.parametrize("runs", [False, True])
def test_destroy_brings_back_what_was(machine: Machine, runs: bool) -> None:
    host(machine).write("/etc/frr/frr.conf", "ip route 198.51.100.0/24 10.26.23.9\n", 0o640)
    machine.write("/etc/frr/daemons", DAEMONS, 0o640)
    machine.write("/usr/lib/frr/frr-reload.py")
    if runs:
        machine.write("state/running", DAEMONS + machine.read("/etc/frr/frr.conf"))
    before = machine.contents()
    assert machine.run(*COMMAND, stdin=CONF).returncode == 0
    assert machine.contents() != before
    assert machine.run("frr_restore.sh").returncode == 0
    assert "sysctl -q -w net.ipv4.ip_nonlocal_bind=0" in machine.ran
    assert machine.contents() == before
    assert machine.run("frr_restore.sh").returncode == 0


def test_destroy_leaves_an_installed_frr_stopped_and_disabled(machine: Machine) -> None:
    host(machine).run(*COMMAND, stdin=CONF)
    assert machine.run("frr_restore.sh").returncode == 0
    assert service(machine) == ["stop", "disable"]
    assert machine.read("/etc/frr/daemons") == DAEMONS
    assert not machine.exists("state/running")


def test_says_what_frr_said_without_the_password(machine: Machine) -> None:
    said = "[ $1 = enable ] || { echo 'line 3: neighbor NODES password hunter2hunter2'; echo 'job failed'; exit 1; }"
    host(machine).fake("systemctl", said)
    done = machine.run(*COMMAND, stdin=CONF.format(SECRET))
    assert done.returncode == 1
    assert done.stderr == (
        "the journal: -u frr -n 30 --no-pager\nfrr did not restart: line 3: neighbor NODES password …\njob failed\n"
    )


def test_says_who_listens_instead(machine: Machine) -> None:
    host(machine).fake("ss", "echo 'LISTEN 0 128 0.0.0.0:179 0.0.0.0:*'")
    machine.hurry()
    done = machine.run(*COMMAND, stdin=CONF)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "bgpd listening on 10.26.23.1:179: not within 60 s; last seen: LISTEN 0 128 0.0.0.0:179 0.0.0.0:*\n"
        "the journal: -u frr -n 30 --no-pager\n"
    )
