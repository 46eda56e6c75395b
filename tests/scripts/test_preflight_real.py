"""preflight.sh with the real ip, nftables, sshd and file systems; what it advises is typed, and then nothing is wrong.

Runs as root, where nft is; the part about sshd where that is.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.namespaces import Host
from tests.scripts.test_preflight import STACK, WANTED

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
    pytest.mark.skipif(not shutil.which("nft"), reason="nft is missing: scripts/setup-routers, or make e2e"),
]

# No bridge yet, no FRR, and room for nodes on a file system that takes an overlay.
SETUP = """
ip link delete lxdbr0
rm -rf /etc/frr
mount -t tmpfs -o size=90g none /var/lib
mkdir -p /run/sshd
"""
CHAIN = "{{ type filter hook {0} priority 0; policy drop; }}"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, SETUP)
    yield made
    made.close()


def look(host: Host) -> list[str]:
    done = host.script("preflight.sh", "", STACK, "root", *WANTED)
    assert done.returncode == 0 or done.stderr.startswith("this host is not ready"), done.stderr
    return done.stderr.splitlines()[1:]


def test_a_host_that_will_do_is_left_as_it_is(host: Host) -> None:
    before = host.output("find", "/etc", "/usr/local", "/var/lib")
    assert look(host) == []
    assert host.output("find", "/etc", "/usr/local", "/var/lib") == before


def test_a_network_that_is_there_already_is_refused(host: Host) -> None:
    host.output("ip", "link", "add", "br-other", "type", "bridge")
    host.output("ip", "address", "add", "10.42.200.1/24", "dev", "br-other")
    host.output("ip", "link", "set", "br-other", "up")
    host.output("ip", "route", "add", "blackhole", "10.26.16.0/20")
    assert [problem.partition(";")[0] for problem in look(host)] == [
        "lxd.bridge.address: 10.26.23.1/24 overlaps 10.26.16.0/20, which the host has",
        "bgp.pool: 10.26.23.32/27 overlaps 10.26.16.0/20, which the host has",
        "k3s.clusterCidr: 10.42.0.0/16 overlaps 10.42.200.0/24, which the host has on br-other",
    ]


def test_nftables_rules_of_somebodys_are_told(host: Host) -> None:
    host.output("nft", "add table inet filter")
    for hook in ("input", "forward", "output"):
        host.output("nft", f"add chain inet filter {hook} {CHAIN.format(hook)}")
    found = look(host)
    assert [problem.partition(" drops ")[0] for problem in found] == [
        "nftables: chain input of table inet filter",
        "nftables: chain forward of table inet filter",
    ]
    for problem in found:
        host.output("sh", "-c", problem.partition("loaded from: ")[2])
    assert look(host) == []


def test_a_file_system_that_takes_no_overlay_is_refused(host: Host) -> None:
    layers = "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"
    host.output("mount", "-t", "tmpfs", "-o", "size=90g", "none", "/mnt")
    host.output("mkdir", "/mnt/lower", "/mnt/upper", "/mnt/work")
    host.output("mount", "-t", "overlay", "-o", layers, "o", "/var/lib")
    (problem,) = look(host)
    assert problem.startswith("the file system of /var/lib (overlayfs) takes no overlay above it;")


@pytest.mark.skipif(not shutil.which("sshd"), reason="sshd is missing: apt-get install openssh-server")
@pytest.mark.parametrize(
    "line", ["AllowTcpForwarding no", "AllowStreamLocalForwarding remote", "DisableForwarding yes", "PermitOpen none"]
)
def test_an_sshd_that_forwards_nothing_is_refused(host: Host, line: str) -> None:
    host.output("sh", "-c", f"ssh-keygen -A >&2; echo '{line}' >>/etc/ssh/sshd_config")
    (problem,) = look(host)
    said = re.fullmatch(r"sshd .*; .* end of (\S+) and reload sshd: (.*)", problem)
    assert said, problem
    host.output("sh", "-c", f"echo '{said[2]}' | tr , '\\n' >>{said[1]}")
    assert look(host) == []
