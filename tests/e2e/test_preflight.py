"""`make doctor` against a host that is somebody's already: all of it is said in one run, and nothing is touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab import machine, stack
from lab.machine import Machine
from scripts import doctor, preview
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

# UFW and Docker's policy, an LXD and an FRR in use, a network that ours would cut off, a sshd that forwards nothing.
CROWDED = """
set -e
ufw allow 22/tcp
ufw --force enable
iptables -P FORWARD DROP
iptables -N DOCKER-USER
iptables -A FORWARD -j DOCKER-USER
lxc network create lxdbr0 ipv4.address=10.99.0.1/24 ipv4.nat=true ipv6.address=none
lxc storage create default dir
lxc profile device add default root disk path=/ pool=default
lxc profile create k8s
echo 'ip route 198.51.100.0/24 10.26.22.1' >>/etc/frr/frr.conf
ip link add br-other type bridge
ip address add 10.42.200.1/24 dev br-other
ip link set br-other up
echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/hardened.conf
"""
STANDING = "find /etc /var/lib/cilium-bgp -type f 2>/dev/null | sort; nft --stateless list ruleset; iptables -S"


@pytest.fixture(scope="module")
def host(configmap: Stack) -> Iterator[Machine]:
    its = machine.make("crowded", "prepared", "10.26.22.78")
    its.let_in(stack.KEY.with_suffix(".pub").read_text())
    its.run("sh", "-c", CROWDED, seconds=120)
    yield its
    machine.remove("crowded")


def told(
    host: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setattr(preview, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "private_key", lambda _stack: stack.KEY.read_text())
    config = {
        "cilium-bgp:host": {"kind": "existing", "address": host.address, "hostKey": host.host_key()},
        "cilium-bgp:nodes": {"k3s1": {"role": "server", "address": "10.26.23.11"}},
    }
    (tmp_path / "Pulumi.guest.yaml").write_text(yaml.safe_dump({"config": config}))
    doctor.main("guest")
    return capsys.readouterr().out.splitlines()


def test_everything_is_said_at_once(
    host: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.run("sh", "-c", STANDING)
    *notes, first = (lines := told(host, capsys, tmp_path, monkeypatch))[:3]
    assert [note.partition(" drops")[0] for note in notes] == ["note: UFW", "note: Docker"]
    assert first == "this host is not ready, and was not touched:"
    assert [problem.partition(" (")[0].partition(";")[0] for problem in lines[3:]] == [
        "sshd allows root no forwarding",
        "k3s.clusterCidr: 10.42.0.0/16 overlaps 10.42.200.0/24, which the host has on br-other",
        "FRR on this host is in use",
        "lxd.bridge.name: LXD has a network lxdbr0 already, with 10.99.0.1/24 instead of 10.26.23.1/24",
        "lxd.project: the project default has a profile k8s already, which is not the nodes'. Choose a project of its "
        "own, like cilium-bgp",
    ]
    assert host.run("sh", "-c", STANDING) == before


def test_a_second_stack_is_refused(
    configmap: Stack, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, problem, *_ = told(stack.HOST, capsys, tmp_path, monkeypatch)
    assert problem.startswith(f"the stack cilium-bgp/{stack.STACK} is on this host already; there is one router")
