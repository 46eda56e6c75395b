"""firewall.sh and firewall_remove.sh with the real nftables and iptables: who reaches whom.

A host with the nodes' bridge; two nodes on it, a pod behind the first, somebody else on the bridge; a neighbour on the
LAN who has a static route to the bridge. Runs where nft and iptables are, as root.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.namespaces import BEHIND, GATEWAY, Host, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
    pytest.mark.skipif(
        not (shutil.which("nft") and shutil.which("iptables")), reason="scripts/setup-routers, or make e2e"
    ),
]

NODES = ("10.26.23.11", "10.26.23.12")
POOL, POOL_ADDRESS = "10.26.24.0/24", "10.26.24.1"
SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, peer = listener.accept()
    connection.sendall(f"{peer[0]} {connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)}".encode())
    connection.close()
"""
SERVER6 = """
import socket, time
listener = socket.create_server(("::", 10250), family=socket.AF_INET6, backlog=99)
time.sleep(600)
"""
CLIENT = """
import socket, sys
connection = socket.socket()
connection.settimeout(1)
if sys.argv[3:]:
    connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[3]))
connection.connect((sys.argv[1], int(sys.argv[2])))
print(connection.recv(99).decode())
"""
# As LXD's network forwards.
FORWARD = (
    "table ip fw { chain pre { type nat hook prerouting priority -100; tcp dport 8080 dnat to 10.26.24.1:10250; }; }"
)
OURS = (
    "/etc/cilium-bgp",
    "/usr/local/lib/cilium-bgp",
    "/var/lib/cilium-bgp",
    "/etc/systemd/system/cilium-bgp-*",
)


class Network(Host):
    """The host and all around it. Everybody serves TCP on 179 (the host), 10250 (nodes) or 80 (the neighbour)."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.machine("neighbour", "192.0.2.9", "192.0.2.1")
        for name, address in (("node", NODES[0]), ("other", NODES[1]), ("somebody", "10.26.23.99")):
            self.machine(name, address, GATEWAY, on="lxdbr0")
        self.machine("pod", "10.42.1.7", "node=10.42.1.1")
        self.output(*self.on("node", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"))
        self.output(*self.on("node", "nft", BEHIND))
        for name in ("node", "other"):
            self.output(*self.on(name, "sysctl", "-q", "-w", "net.ipv4.ip_default_ttl=255"))
        self.output(*self.on("node", "ip", "address", "add", f"{POOL_ADDRESS}/32", "dev", "lo"))
        self.output("ip", "route", "add", POOL_ADDRESS, "via", NODES[0])
        for name, address, port in (
            ("", GATEWAY, 179),
            ("", GATEWAY, 53),
            ("", GATEWAY, 6443),
            ("", "192.0.2.1", 179),
            ("node", "0.0.0.0", 10250),
            ("neighbour", "192.0.2.9", 80),
        ):
            server = [*self.enter, *self.on(name, "python3", "-c", SERVER, address, str(port))]
            subprocess.Popen(server)
            eventually(lambda name=name, port=port: f":{port}" in self.run(*self.on(name, "ss", "-Hltn")).stdout)  # type: ignore[misc]

    def asks(self, name: str, address: str, port: int, *ttl: int) -> str:
        """What `name` is answered there: the address that it was seen with, and the MSS; "" for nothing."""
        return self.run(*self.on(name, "python3", "-c", CLIENT, address, str(port), *map(str, ttl))).stdout.strip()

    def protect(self, *nodes: str, open_to: str = "") -> subprocess.CompletedProcess[str]:
        return self.script("firewall.sh", "lxdbr0", GATEWAY, "6443", POOL, open_to, *(nodes or NODES))

    def rules(self) -> str:
        ours = self.run("nft", "--stateless", "list", "table", "inet", "cilium-bgp").stdout
        return ours + self.output("iptables", "-S")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path)
    yield made
    made.close()


def test_bgp_is_for_nodes_alone(network: Network) -> None:
    assert network.asks("pod", GATEWAY, 179).startswith(NODES[0]), "a pod looks like its node"
    assert network.asks("neighbour", GATEWAY, 179)
    done = network.protect()
    assert (done.returncode, done.stderr) == (0, "")
    assert network.asks("node", GATEWAY, 179).startswith(NODES[0])
    assert network.asks("other", GATEWAY, 179).startswith(NODES[1])
    assert network.asks("", GATEWAY, 179), "the host itself"
    assert network.asks("somebody", GATEWAY, 179) == ""
    assert network.asks("neighbour", GATEWAY, 179) == ""
    for ttl in ((), (64,), (65,), (255,)):
        assert network.asks("pod", GATEWAY, 179, *ttl) == ""
    assert network.asks("pod", "192.0.2.9", 80)
    assert network.asks("neighbour", "192.0.2.1", 179), "another router of the host's own is not ours to close"


def test_a_node_less_is_a_peer_less(network: Network) -> None:
    assert network.protect().returncode == 0
    assert network.protect(NODES[1]).returncode == 0
    assert network.asks("node", GATEWAY, 179) == ""
    assert network.asks("other", GATEWAY, 179)


def test_from_beyond_the_host_only_answers_and_what_it_forwards_come_in(network: Network) -> None:
    inside = [(NODES[0], 10250), (POOL_ADDRESS, 10250)]
    assert all(network.asks("neighbour", *target) for target in inside), "a static route is enough"
    assert network.protect().returncode == 0
    assert [network.asks("neighbour", *target) for target in inside] == ["", ""]
    assert all(network.asks("", *target) for target in inside)
    assert network.asks("somebody", NODES[0], 10250), "one bridge is one network"
    assert network.asks("node", "192.0.2.9", 80), "out it goes"
    network.output("nft", FORWARD)
    assert network.asks("neighbour", "192.0.2.1", 8080), "exposure.forwards"
    assert network.asks("neighbour", POOL_ADDRESS, 10250) == ""


def test_the_pool_is_open_to_networks_that_are_said_and_nodes_to_nobody(network: Network) -> None:
    for chain in ("INPUT", "FORWARD"):
        network.output("iptables", "-P", chain, "DROP")
    assert network.protect(open_to="203.0.113.0/24").returncode == 0
    assert network.asks("neighbour", POOL_ADDRESS, 10250) == ""
    done = network.protect(open_to="203.0.113.0/24,192.0.2.0/24")
    assert (done.returncode, done.stdout) == (
        0,
        "lxdbr0: BGP from 10.26.23.11, 10.26.23.12; 10.26.24.0/24 for 203.0.113.0/24,192.0.2.0/24\n",
    )
    assert network.asks("neighbour", POOL_ADDRESS, 10250)
    assert network.asks("neighbour", NODES[0], 10250) == ""
    assert network.protect().returncode == 0
    assert network.asks("neighbour", POOL_ADDRESS, 10250) == ""


def test_from_beyond_the_host_nothing_comes_in_by_ipv6(network: Network) -> None:
    for inside, link, address in (
        ((), "lxdbr0", "fd00:23::1/64"),
        ((), "neighbour", "fd00:192::1/64"),
        (("-n", "node"), "eth0", "fd00:23::11/64"),
        (("-n", "neighbour"), "eth0", "fd00:192::9/64"),
    ):
        network.output("ip", *inside, "address", "add", address, "dev", link, "nodad")
    network.output("ip", "-n", "node", "-6", "route", "add", "default", "via", "fd00:23::1")
    network.output("ip", "-n", "neighbour", "-6", "route", "add", "default", "via", "fd00:192::1")
    network.output("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
    subprocess.Popen([*network.enter, *network.on("node", "python3", "-c", SERVER6)])

    def reaches(name: str) -> bool:
        asks = "timeout 2 bash -c ': </dev/tcp/fd00:23::11/10250' 2>&1"
        return network.run(*network.on(name, "sh", "-c", asks)).returncode == 0

    eventually(lambda: reaches("neighbour"))
    assert network.protect().returncode == 0
    assert reaches("")
    assert not reaches("neighbour")


def test_what_nodes_need_passes_a_firewall_that_drops(network: Network) -> None:
    for chain in ("INPUT", "FORWARD"):  # UFW; Docker drops the second alone
        network.output("iptables", "-P", chain, "DROP")
    network.output("iptables", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
    before = network.rules()
    assert network.asks("node", "192.0.2.9", 80) == network.asks("node", GATEWAY, 179) == ""
    assert network.protect().returncode == 0
    assert network.asks("node", "192.0.2.9", 80)
    for port in (53, 179, 6443):
        assert network.asks("node", GATEWAY, port), port
    assert network.asks("somebody", GATEWAY, 179) == ""
    assert network.asks("neighbour", NODES[0], 10250) == ""
    rules = network.rules()
    for port in (53, 67):
        assert f"-A INPUT -i lxdbr0 -p udp -m udp --dport {port} " in rules
    assert network.protect().returncode == 0
    assert network.rules() == rules, "a second run adds nothing"
    assert network.script("firewall_remove.sh").returncode == 0
    assert network.rules() == before
    assert network.asks("node", "192.0.2.9", 80) == ""


@pytest.mark.skipif(not shutil.which("ufw"), reason="ufw is missing: apt-get install ufw")
def test_nodes_pass_ufw_whatever_it_does(network: Network) -> None:
    network.output("ufw", "--force", "enable")
    assert network.asks("node", "192.0.2.9", 80) == network.asks("node", GATEWAY, 179) == ""
    assert network.protect().returncode == 0
    for then in (("reload",), ("disable",), ("--force", "enable")):
        network.output("ufw", *then)
        assert network.asks("node", "192.0.2.9", 80)
        assert network.asks("node", GATEWAY, 179)
        assert network.asks("neighbour", NODES[0], 10250) == ""
    assert network.script("firewall_remove.sh").returncode == 0
    assert network.asks("node", "192.0.2.9", 80) == ""


def test_a_smaller_uplink_is_told_to_both_ends(network: Network) -> None:
    network.output("ip", "link", "set", "neighbour", "mtu", "1400")
    assert int(network.asks("node", "192.0.2.9", 80).split()[1]) > 1400, "the neighbour would send more than fits"
    assert network.protect().returncode == 0
    assert int(network.asks("node", "192.0.2.9", 80).split()[1]) <= 1360


def test_removal_leaves_nothing_and_can_be_repeated(network: Network) -> None:
    network.output("iptables", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
    before = network.rules()
    assert network.protect().returncode == 0
    assert network.rules() != before
    for _ in range(2):
        done = network.script("firewall_remove.sh")
        assert (done.returncode, done.stderr) == (0, "")
        assert network.rules() == before
    assert network.run("sh", "-c", f"ls -d {' '.join(OURS)}").stdout == ""


def test_it_can_come_before_the_bridge(network: Network) -> None:
    network.output("ip", "link", "delete", "lxdbr0")
    assert network.protect().returncode == 0
    network.output("ip", "link", "add", "lxdbr0", "type", "bridge")
    assert 'iifname "lxdbr0"' in network.rules()
