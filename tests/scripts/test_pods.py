"""pod_ranges.py and frr_pods.sh; k3s, FRR and ip are fakes. With the real FRR: test_frr.py."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.machine import Machine

CONF = "/etc/frr/frr.conf"
OURS = "ip prefix-list NODE-10.26.23.11 seq 10 permit 10.26.23.32/27 ge 32 le 32\nrouter bgp 64512\n"
FIRST, SECOND = ("10.26.23.11=10.42.0.0/24", "10.26.23.12=10.42.1.0/24,10.42.9.0/24")
LINES = (
    "ip prefix-list NODE-10.26.23.11 seq 20 permit 10.42.0.0/24\n"
    "ip prefix-list NODE-10.26.23.12 seq 20 permit 10.42.1.0/24\n"
    "ip prefix-list NODE-10.26.23.12 seq 21 permit 10.42.9.0/24\n"
)


def cluster(machine: Machine, **ranges: list[str]) -> Machine:
    items = [{"metadata": {"name": name}, "spec": {"ipam": {"podCIDRs": its}}} for name, its in ranges.items()]
    machine.write("state/nodes", json.dumps({"items": items}))
    machine.fake("k3s", 'cat "$STATE/nodes"')
    python = Path(sys.executable).resolve()
    machine.fake("python3", f'PATH=$MACHINE/programs exec {python} "$@"')
    return machine


def test_says_which_pods_each_node_has(machine: Machine) -> None:
    done = cluster(machine, k3s1=["10.42.0.0/24"], k3s2=["10.42.1.0/24", "fd00::/64"], old=["10.42.7.0/24"]).run(
        "pod_ranges.py", "0", "10.42.0.0/16", "k3s1", "k3s2"
    )
    assert json.loads(done.stdout) == {"k3s1": ["10.42.0.0/24"], "k3s2": ["10.42.1.0/24"]}, done.stderr


def test_says_who_has_none(machine: Machine) -> None:
    done = cluster(machine, k3s1=["10.42.0.0/24"], k3s3=[]).run(
        "pod_ranges.py", "0", "10.42.0.0/16", "k3s1", "k3s2", "k3s3"
    )
    assert done.returncode == 1
    assert done.stderr == (
        "the pods' ranges: not within 0 s; last seen: no CiliumNode with spec.ipam.podCIDRs for k3s2, k3s3\n"
    )


@pytest.mark.parametrize("foreign", ["0.0.0.0/0", "192.168.1.0/24", "10.0.0.0/8"])
def test_who_may_write_a_ciliumnode_gets_no_route_of_the_hosts(machine: Machine, foreign: str) -> None:
    done = cluster(machine, k3s1=["10.42.0.0/24", foreign]).run("pod_ranges.py", "9", "10.42.0.0/16", "k3s1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"the pods' ranges: k3s1 {foreign} outside of 10.42.0.0/16 (k3s.clusterCidr); ")


def host(machine: Machine) -> Machine:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.write(CONF, OURS, 0o640)
    machine.fake("chown")
    machine.fake("systemctl", f'[ "$1" = reload ] && cat {CONF} >"$STATE/running"')
    machine.fake("ip", 'case $3 in 10.42.[019].*) echo "via 10.26.23.11"; echo "via 10.26.23.12" ;; esac')
    machine.fake("vtysh", "echo '  BGP state = Active, for 00:00:12'; echo '  Hold time is 9'")
    return machine


def test_adds_replaces_and_removes(machine: Machine) -> None:
    done = host(machine).run("frr_pods.sh", "5", FIRST, SECOND)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{FIRST} {SECOND}\n", "")
    assert machine.read(CONF) == machine.read("state/running") == OURS + LINES
    assert machine.mode(CONF) == "0o640"
    before = machine.files()
    assert machine.run("frr_pods.sh", "5", FIRST, SECOND).returncode == 0
    assert machine.files() == before
    assert machine.run("frr_pods.sh", "5", FIRST).returncode == 0
    assert machine.read("state/running") == OURS + LINES.splitlines(keepends=True)[0]
    assert machine.run("frr_pods.sh", "0").returncode == 0
    assert machine.read("state/running") == OURS


def test_there_may_be_no_router_any_more(machine: Machine) -> None:
    host(machine)
    (machine.root / "etc/frr/frr.conf").unlink()
    assert machine.run("frr_pods.sh", "0").returncode == 0


def test_says_whose_pods_have_no_route(machine: Machine) -> None:
    done = host(machine).run("frr_pods.sh", "0", "10.26.23.11=10.42.77.0/24")
    assert done.returncode == 1
    assert done.stderr == (
        "a route to 10.42.77.0/24, the pods of 10.26.23.11: not within 1 s; last seen: "
        "  BGP state = Active, for 00:00:12\n"
    )


def test_a_run_killed_anywhere_is_made_good_by_the_next(new_machine: Callable[[], Machine]) -> None:
    whole = host(new_machine())
    whole.run("frr_pods.sh", "5", FIRST)
    wanted = whole.contents()
    for step in whole.changing_steps:
        machine = host(new_machine())
        assert machine.run("frr_pods.sh", "5", FIRST, dies_at=step).returncode != 0, f"survived step {step}"
        died_at = machine.ran[-1]
        assert machine.run("frr_pods.sh", "5", FIRST).returncode == 0, f"after death at {died_at}"
        assert machine.contents() == wanted, f"after death at {died_at}"


def test_says_what_frr_said_without_the_password(machine: Machine) -> None:
    host(machine).fake("systemctl", "echo ' neighbor NODES password hunter2'; echo 'job failed'; exit 1")
    machine.fake("journalctl", "echo 'line 7: neighbor NODES password hunter2'")
    done = machine.run("frr_pods.sh", "5", FIRST)
    assert done.returncode == 1
    assert "hunter2" not in done.stderr
    assert done.stderr.endswith("job failed\n")
