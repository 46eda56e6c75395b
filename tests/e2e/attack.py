"""What somebody reaches from where they are, and what listens there."""

import json
import re
from collections.abc import Iterable

from lab.machine import Machine
from tests.e2e.stack import HOST, on_node

Target = tuple[str, int, int]
"""Address, TCP port, and the TTL of what is sent there."""
GATEWAY = "10.26.23.1"
TTLS = (1, 2, 63, 64, 65, 255)
# All at once: what is dropped takes as long as the others together.
_CLIENT = """
import json, select, socket, sys, time
waiting, reached, end = {}, [], time.monotonic() + 3
for target in json.loads(sys.argv[1]):
    its = socket.socket()
    its.setblocking(False)
    its.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, target[2])
    its.connect_ex(tuple(target[:2]))
    waiting[its] = target
while waiting and (left := end - time.monotonic()) > 0:
    for its in select.select([], list(waiting), [], left)[1]:
        target = waiting.pop(its)
        if its.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            reached.append(target)
print(json.dumps(reached))
"""


def from_machine(machine: Machine, targets: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those that it can connect to."""
    asked = json.dumps([(*target, 64) for target in targets])
    return {(address, port) for address, port, _ in machine.json("python3", "-c", _CLIENT, asked)}


def from_node(node: str, targets: Iterable[Target], network: str = "/proc/1/ns/net") -> set[Target]:
    """Those that it can connect to, from its own network or from a pod's."""
    client = ["nsenter", f"--net={network}", "python3", "-c", _CLIENT, json.dumps(list(targets))]
    return {(address, port, ttl) for address, port, ttl in json.loads(on_node(node, *client))}


def pod_network(node: str) -> str:
    """A pod's network namespace: what a program in it could use, whichever it runs."""
    for path in on_node(node, "sh", "-c", "ls -d /run/netns/*").split():
        if " 10.42." in on_node(node, "nsenter", f"--net={path}", "ip", "-4", "-o", "address"):
            return path
    raise AssertionError(f"no pod on {node}")


def listening(listed: str) -> set[tuple[str, str, int]]:
    """Protocol, address and port of each line of `ss -Hltun` that is heard beyond loopback, IPv4 and IPv6."""
    heard = set()
    for line in listed.splitlines():
        protocol, _, _, _, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        address = re.sub(r"%.*", "", address).strip("[]").removeprefix("::ffff:")
        if not address.startswith("127.") and address != "::1":
            heard.add((protocol, address, int(port)))
    return heard


def listening_on_the_host() -> set[tuple[str, str, int]]:
    return listening(HOST.run("ss", "-Hltun"))
