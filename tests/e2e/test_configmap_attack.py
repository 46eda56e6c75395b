"""Who gets where: a pod at the router, a neighbour on the LAN with a static route, and what listens on the host.

`connects` uses a pod's own network, as its program would; which program that is plays no part.
"""

import re
from collections.abc import Iterator

import pytest

from lab import machine, store
from lab.machine import Machine
from tests.e2e.stack import HOST, NODES, Stack, on_node, sessions

pytestmark = pytest.mark.e2e

GATEWAY = "10.26.23.1"
CLIENT = """
import socket, sys
its = socket.socket()
its.settimeout(2)
its.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[3]))
try:
    its.connect((sys.argv[1], int(sys.argv[2])))
except OSError as error:
    print(type(error).__name__)
else:
    print("connected")
"""


def pod_network(node: str) -> str:
    """A pod's network namespace on that node."""
    for path in on_node(node, "sh", "-c", "ls -d /run/netns/*").split():
        if " 10.42." in on_node(node, "nsenter", f"--net={path}", "ip", "-4", "-o", "address"):
            return path
    raise AssertionError(f"no pod on {node}")


def connects(node: str, network: str, address: str, port: int, ttl: int = 64) -> str:
    client = ["python3", "-c", CLIENT, address, str(port), str(ttl)]
    return on_node(node, "nsenter", f"--net={network}", *client).strip()


@pytest.fixture(scope="module")
def neighbour(configmap: Stack) -> Iterator[Machine]:
    """Somebody on the LAN, who has a route to the nodes' network over the host."""
    its = machine.make("neighbour", "host", "10.26.22.77")
    for network in ("10.26.23.0/24", "10.42.0.0/16"):
        its.run("ip", "route", "add", network, "via", HOST.address)
    yield its
    machine.remove("neighbour")


def test_a_pod_does_not_reach_the_router_whatever_it_sends(configmap: Stack) -> None:
    for node in NODES:
        pod = pod_network(node)
        assert connects(node, pod, GATEWAY, 22) == "connected", "the host itself it reaches"
        assert {connects(node, pod, GATEWAY, 179, ttl) for ttl in (1, 2, 64, 65, 255)} == {"TimeoutError"}
    assert sessions() == dict.fromkeys(NODES.values(), "Established")


def test_what_is_learned_from_a_node_is_the_pool_and_its_own_pods(configmap: Stack) -> None:
    told = HOST.run("vtysh", "-c", "show running-config")
    assert re.findall(r"neighbor NODES password (\S+)", told), "unsigned sessions"
    for address in NODES.values():
        lines = re.findall(rf"^ip prefix-list NODE-{address} seq \d+ permit (.+)$", told, re.MULTILINE)
        pods = configmap.kubectl("get", "ciliumnodes")["items"]
        (own,) = [
            node["spec"]["ipam"]["podCIDRs"]
            for node in pods
            if address in [its["ip"] for its in node["spec"]["addresses"]]
        ]
        assert lines == ["10.26.23.32/27 ge 32 le 32", *own]


def test_a_static_route_leads_a_neighbour_nowhere(configmap: Stack, neighbour: Machine) -> None:
    def answers(address: str, port: int) -> bool:
        try:
            neighbour.run("timeout", "3", "bash", "-c", f": </dev/tcp/{address}/{port}")
        except store.BuildError:
            return False
        return True

    assert answers(HOST.address, 6443), "the Kubernetes API"
    assert answers(HOST.address, 22)
    inside = [(NODES["k3s1"], 6443), (NODES["k3s2"], 10250), (NODES["k3s2"], 22), (GATEWAY, 53), (GATEWAY, 179)]
    inside += [(address, 80) for address in configmap.outputs["load_balancer_ips"].values()]
    assert [target for target in inside if answers(*target)] == []


def test_what_listens_on_the_host_is_what_is_documented(configmap: Stack) -> None:
    heard = set()
    for line in HOST.run("ss", "-Hltun").splitlines():
        protocol, _, _, _, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        address = re.sub(r"%.*", "", address).strip("[]")
        if not address.startswith("127.") and address != "::1":
            heard.add((protocol, address, int(port)))
    documented = {
        ("tcp", GATEWAY, 179),
        ("tcp", GATEWAY, 53),
        ("udp", GATEWAY, 53),
        ("udp", "0.0.0.0", 67),
        ("tcp", "0.0.0.0", 6443),
        ("tcp", "0.0.0.0", 22),
        ("tcp", "::", 22),
    }
    by_lxd = {its for its in heard if its[1].startswith("fe80:") and its[2] == 53}
    assert heard - by_lxd - {("udp", "0.0.0.0", 68)} == documented  # the last is the machine's own DHCP client
