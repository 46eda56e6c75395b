"""What is beyond the lab's host: a router with FRR that has a session with the host's, and a client behind it, on a
network of their own."""

from collections.abc import Sequence
from ipaddress import IPv4Interface
from typing import Any

from lab import machine
from lab.machine import Machine

BRIDGE, NETWORK, GATEWAY, INSIDE = "cbgplab1", "10.26.21.0/24", "10.26.21.1/24", IPv4Interface("10.26.21.3/24")
"""The client's; the machine that all this runs on is the gateway there, which nobody uses."""
ROUTER, CLIENT = Machine("router", "10.26.22.3"), Machine("client", "10.26.21.50")
NAME, ASN = "lan", 65010
PASSWORD = "known-to-all-of-the-lab"  # noqa: S105
FOREIGN = "198.51.100.0/24"
"""What the router tells besides a default route, though nobody wants it."""
CONF = """\
frr defaults traditional
ip route {foreign} blackhole
router bgp {asn}
 bgp router-id {router}
 no bgp ebgp-requires-policy
{neighbors}
 address-family ipv4 unicast
  network {foreign}
{defaults}
 exit-address-family
"""


def make(public_key: str, hosts: Sequence[Machine]) -> None:
    """The two machines, unless they are there, and the way back of `hosts`."""
    machine.another_network(BRIDGE, GATEWAY)
    machine.make(ROUTER.name, "prepared", ROUTER.address)
    machine.plug_in(ROUTER, BRIDGE, INSIDE)
    machine.make(CLIENT.name, "prepared", CLIENT.address, bridge=BRIDGE).let_in(public_key)
    neighbors = "\n".join(
        f" neighbor {host.address} {line}"
        for host in hosts
        for line in ("remote-as external", f"password {PASSWORD}", "timers 3 9", "timers connect 3")
    )
    defaults = "\n".join(f"  neighbor {host.address} default-originate" for host in hosts)
    conf = CONF.format(foreign=FOREIGN, asn=ASN, router=ROUTER.address, neighbors=neighbors, defaults=defaults)
    ROUTER.run("sh", "-c", "cat >/etc/frr/frr.conf && chown frr:frr /etc/frr/frr.conf", stdin=conf)
    ROUTER.run("sed", "-i", "s/^bgpd=no/bgpd=yes/", "/etc/frr/daemons")
    ROUTER.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    ROUTER.run("systemctl", "restart", "frr")
    CLIENT.run("ip", "route", "replace", "default", "via", str(INSIDE.ip))
    for host in hosts:
        host.run("ip", "route", "replace", NETWORK, "via", ROUTER.address)


def upstreams() -> dict[str, Any]:
    """`bgp.upstreams`."""
    return {NAME: {"address": ROUTER.address, "asn": ASN}}


def exposure() -> dict[str, Any]:
    """`exposure`."""
    return {
        "mode": "bgp",
        "cidrs": [NETWORK],
        "client": {"address": CLIENT.address, "hostKey": CLIENT.host_key()},
    }


def remove() -> None:
    for its in (ROUTER, CLIENT):
        if its.name in machine.machines():
            machine.remove(its.name)
    machine.remove_network(BRIDGE)
