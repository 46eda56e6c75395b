"""frr.sh and frr_restore.sh with the real FRR, and GoBGP as the nodes, in namespaces of their own.

Runs where FRR and GoBGP (scripts/setup-routers) are, as root.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.bgp_router import UpstreamArgs, frr_conf
from tests.scripts import namespaces
from tests.scripts.namespaces import GATEWAY, eventually
from tests.unit import test_bgp_router

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run FRR in namespaces of its own"),
    pytest.mark.skipif(
        not (Path("/usr/lib/frr/frr-reload.py").exists() and shutil.which("gobgpd")),
        reason="FRR or GoBGP is missing: scripts/setup-routers, or make e2e",
    ),
]

PASSWORD = "correct-horse-battery"
# As Cilium's agents say it, with the restart time that a CiliumBGPPeerConfig has when it says none.
GRACEFUL: dict[str, Any] = {
    "graceful-restart": {"config": {"enabled": True, "restart-time": 120, "notification-enabled": True}},
    "afi-safis": [{"config": {"afi-safi-name": "ipv4-unicast"}, "mp-graceful-restart": {"config": {"enabled": True}}}],
}
# vtysh notes what it is told: frr-reload applies each line by it.
SETUP = """
cp /usr/bin/vtysh $ROOT/vtysh.real
printf '#!/bin/sh\\necho "$*" >>'$ROOT'/vtysh.told\\nexec '$ROOT'/vtysh.real "$@"\\n' >$ROOT/vtysh
chmod 755 $ROOT $ROOT/vtysh
mount --bind $ROOT/vtysh /usr/bin/vtysh
rm -rf /var/log/frr/*
sed -i -e 's/^bgpd=.*/bgpd=no/' -e 's/^bgpd_options=.*/bgpd_options="   -A 127.0.0.1"/' /etc/frr/daemons
echo 'log syslog informational' >/etc/frr/frr.conf
"""


class Host(namespaces.Host):
    """With FRR installed but not running, and GoBGP on its nodes."""

    def configure(self, **changes: Any) -> subprocess.CompletedProcess[str]:
        args = {
            "address": GATEWAY,
            "asn": 64512,
            "node_asn": 64512,
            "nodes": ["10.26.23.11", "10.26.23.12"],
            "pool": "10.26.23.32/27",
            "hold_time_seconds": 90,
            "keepalive_time_seconds": 30,
            "restart_time_seconds": None,
            "upstreams": {},
            **changes,
        }
        password = args.pop("password", PASSWORD)
        conf = frr_conf(args, password)
        return self.script("frr.sh", GATEWAY, "lxdbr0", stdin=conf)

    def node(self, number: int, password: str = PASSWORD, asn: int = 64512, **more: Any) -> None:
        """A node with GoBGP that dials the host and never listens, as Cilium; `more` of its neighbor's settings."""
        name, address = f"node{number}", f"10.26.23.{number}"
        self.machine(name, address, GATEWAY, on="lxdbr0")
        self.output(*self.on(name, "sysctl", "-q", "-w", "net.ipv4.ip_default_ttl=255"))
        config = {
            "global": {"config": {"as": asn, "router-id": address, "port": -1}},
            "neighbors": [
                {
                    "config": {"neighbor-address": GATEWAY, "peer-as": 64512, "auth-password": password},
                    "timers": {"config": {"connect-retry": 1, "idle-hold-time-after-reset": 1}},
                    **more,
                }
            ],
        }
        (self.root / f"{name}.json").write_text(json.dumps(config))
        self.agent(number)

    def agent(self, number: int, *options: str) -> None:
        """Start the node's GoBGP."""
        name = f"node{number}"
        gobgpd = ["gobgpd", *options, "-t", "json", "-f", str(self.root / f"{name}.json")]
        subprocess.Popen(
            [*self.enter, "ip", "netns", "exec", name, *gobgpd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def upstream(self, password: str = "", host: str = "192.0.2.1", **announced: str) -> None:
        """A router of AS 65001 that waits for the host's session, with GoBGP, and tells it prefixes: on the LAN unless
        it is there already."""
        if host == "192.0.2.1" and "upstream" not in self.output("ip", "netns", "list"):
            self.machine("upstream", "192.0.2.9", "192.0.2.1")
        neighbor = {"neighbor-address": host, "peer-as": 64512, "auth-password": password}
        waits = {
            "config": neighbor,
            "transport": {"config": {"passive-mode": True}},
            "ebgp-multihop": {"config": {"enabled": True, "multihop-ttl": 5}},
            "afi-safis": [{"config": {"afi-safi-name": "ipv4-unicast"}}],
        }
        config = {"global": {"config": {"as": 65001, "router-id": "192.0.2.9"}}, "neighbors": [waits]}
        file = self.root / "upstream.json"
        file.write_text(json.dumps(config))
        gobgpd = ["ip", "netns", "exec", "upstream", "gobgpd", "-t", "json", "-f", str(file)]
        subprocess.Popen([*self.enter, *gobgpd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for prefix in announced.values():
            gobgp = ["ip", "netns", "exec", "upstream", "gobgp", "global", "rib", "add", prefix]
            eventually(lambda gobgp=gobgp: self.run(*gobgp).returncode == 0)  # type: ignore[misc]

    def told(self, host: str = "192.0.2.1", attribute: str = "nexthop") -> dict[str, Any]:
        """What the upstream has learned, each with its next hop."""
        shown = self.run(
            "ip", "netns", "exec", "upstream", "gobgp", "-j", "neighbor", host, "adj-in", "-a", "ipv4"
        ).stdout
        return {
            prefix: next(its[attribute] for its in paths[0]["attrs"] if attribute in its)
            for prefix, paths in json.loads(shown or "{}").items()
            if prefix != "error"
        }

    def announce(self, number: int, prefix: str, verb: str = "add") -> None:
        hop = f"10.26.23.{number}"
        gobgp = ["ip", "netns", "exec", f"node{number}", "gobgp", "global", "rib", verb, prefix, "nexthop", hop]
        eventually(lambda: self.run(*gobgp).returncode == 0)

    def peers(self) -> dict[str, Any]:
        summary = json.loads(self.run("vtysh", "-c", "show bgp ipv4 unicast summary json").stdout or "{}")
        return dict(summary.get("peers", {}))

    def established(self, *numbers: int) -> bool:
        peers = self.peers()
        return all(peers.get(f"10.26.23.{number}", {}).get("state") == "Established" for number in numbers)

    def routes(self) -> list[str]:
        return [route["dst"] for route in json.loads(self.output("ip", "-json", "route", "show", "proto", "bgp"))]

    def hops(self, address: str) -> set[str]:
        """Next hops of the route to an address."""
        routes = json.loads(self.output("ip", "-json", "route", "show", f"{address}/32", "proto", "bgp"))
        return {hop["gateway"] for route in routes for hop in route.get("nexthops", [route])}

    def next_hops(self) -> list[str]:
        routes = json.loads(self.output("ip", "-json", "route", "show", "proto", "bgp"))
        return sorted(f"{route['dst']} {route['gateway']}" for route in routes)

    def daemons(self) -> dict[str, str]:
        """FRR's processes, by name."""
        listed = self.output("ps", "-e", "-o", "pid=,comm=").split()
        names = dict(zip(listed[1::2], listed[::2], strict=True))
        return {name: pid for name, pid in names.items() if name in {"bgpd", "zebra"}}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, SETUP)
    yield made
    made.close()


def test_a_node_leaves_the_routes_with_its_session_up_and_returns(host: Host) -> None:
    assert host.configure().returncode == 0
    for number in (11, 12):
        host.node(number)
        host.announce(number, "10.26.23.32/32")
    eventually(lambda: host.hops("10.26.23.32") == {"10.26.23.11", "10.26.23.12"})
    aside = ("node_aside.sh", "leave", "10.26.23.12", "ip", "-4", "route", "show", "proto", "bgp")
    done = host.script(*aside)
    assert done.returncode == 0, done.stderr
    assert "10.26.23.11" in done.stdout
    assert "10.26.23.12" not in done.stdout, "its pods are moved when nothing comes by it any more"
    assert host.established(11, 12)
    assert host.script(*aside).returncode == 0, "again, after a run that was cut off"
    done = host.script("node_aside.sh", "leave", "10.26.23.11", "true")
    assert done.returncode == 0, done.stderr
    assert host.hops("10.26.23.32") == {"10.26.23.11"}, "the only way stays open"
    done = host.script("node_aside.sh", "return", "10.26.23.12", "echo", "k3s2 Ready 10.26.23.11")
    assert (done.returncode, done.stdout, done.stderr) == (0, "k3s2 Ready 10.26.23.11\n", "")
    assert host.hops("10.26.23.32") == {"10.26.23.11", "10.26.23.12"}


def test_learns_the_pool_and_nothing_else_and_keeps_sessions_when_reloaded(host: Host) -> None:
    done = host.configure()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{GATEWAY}\n", "")
    host.node(11)
    eventually(lambda: host.established(11))
    for prefix in ("10.26.23.32/32", "10.26.23.40/29", "10.26.23.64/32", "10.42.1.0/24", "0.0.0.0/0"):
        host.announce(11, prefix)
    eventually(lambda: host.routes() == ["10.26.23.32"])
    time.sleep(1)
    assert host.routes() == ["10.26.23.32"]
    assert host.peers()["10.26.23.11"]["pfxSnt"] == 0
    assert [line.split()[3] for line in host.output("ss", "-Hltn", "sport = :179").splitlines()] == [f"{GATEWAY}:179"]

    before = host.daemons()
    assert host.configure().returncode == 0
    assert host.daemons() == before
    done = host.configure(pool="10.26.23.64/27", nodes=["10.26.23.11", "10.26.23.13"], hold_time_seconds=30)
    assert done.returncode == 0, done.stderr
    eventually(lambda: host.routes() == ["10.26.23.64"])
    assert host.daemons() == before
    peer = host.peers()["10.26.23.11"]
    assert (peer["state"], peer["connectionsEstablished"], peer["connectionsDropped"]) == ("Established", 1, 0)
    assert set(host.peers()) == {"10.26.23.11", "10.26.23.13"}


LAN: UpstreamArgs = {**test_bgp_router.LAN, "address": "192.0.2.9"}


@pytest.mark.parametrize("asn", [64512, 64513])
def test_an_upstream_is_told_the_pool_alone_and_tells_nothing(host: Host, asn: int) -> None:
    assert host.configure(node_asn=asn).returncode == 0
    host.node(11, asn=asn)
    host.announce(11, "10.26.23.33/32")
    eventually(lambda: host.established(11))
    before = host.daemons()
    done = host.configure(node_asn=asn, upstreams={"lan": LAN})
    assert (done.returncode, done.stderr) == (0, "")
    host.upstream(one="0.0.0.0/0", two="198.51.100.0/24", three="10.26.23.34/32")
    eventually(lambda: host.told() == {"10.26.23.33/32": "192.0.2.1"})
    assert host.script("frr_pods.sh", "20", "10.26.23.11=10.42.1.0/24").returncode == 1, "it has not told them yet"
    host.announce(11, "10.42.1.0/24")
    eventually(lambda: host.routes() == ["10.26.23.33", "10.42.1.0/24"])
    host.announce(11, "10.26.23.40/32")
    eventually(lambda: set(host.told()) == {"10.26.23.33/32", "10.26.23.40/32"})
    assert sorted(host.routes()) == ["10.26.23.33", "10.26.23.40", "10.42.1.0/24"]
    assert host.peers()["10.26.23.11"]["pfxSnt"] == 0, "nodes are told nothing of it"

    assert host.configure(node_asn=asn, upstreams={"lan": {**LAN, "announce": "pool"}}).returncode == 0
    eventually(lambda: host.told() == {"10.26.23.32/27": "192.0.2.1"})
    for prefix in ("10.26.23.33/32", "10.26.23.40/32"):
        host.announce(11, prefix, "del")
    eventually(lambda: host.told() == {}, 40)
    assert host.configure(node_asn=asn).returncode == 0
    assert set(host.peers()) == {"10.26.23.11", "10.26.23.12"}
    assert host.daemons() == before
    assert host.peers()["10.26.23.11"]["connectionsDropped"] == 0


def test_a_default_route_is_taken_where_it_is_wanted_and_is_no_way_to_a_pod(host: Host) -> None:
    upstreams = {"lan": {**LAN, "accept_default_route": True, "password": PASSWORD}}
    assert host.configure(upstreams=upstreams).returncode == 0
    host.upstream(PASSWORD, one="0.0.0.0/0", two="198.51.100.0/24")
    eventually(lambda: host.routes() == ["default"])
    host.node(11)
    host.announce(11, "10.26.23.32/32")
    eventually(lambda: host.routes() == ["default", "10.26.23.32"])
    done = host.script("node_aside.sh", "leave", "10.26.23.11", "true")
    assert done.returncode == 0, done.stderr
    assert host.hops("10.26.23.32") == {"10.26.23.11"}, "the only way stays open"
    assert host.configure().returncode == 0
    eventually(lambda: host.routes() == ["10.26.23.32"])
    assert PASSWORD not in (host.root / "vtysh.told").read_text()


@pytest.mark.parametrize("by", ["ipv4", "ipv6"])
def test_an_upstream_may_be_several_hops_away_and_reached_by_ipv6(host: Host, by: str) -> None:
    host.machine("hop", "192.0.2.9", "192.0.2.1")
    host.machine("upstream", "198.51.100.9", "hop=198.51.100.1")
    host.output("ip", "route", "add", "default", "via", "192.0.2.9")
    sides = {"ipv4": ("192.0.2.1", "198.51.100.9"), "ipv6": ("fd00:1::1", "fd00:2::9")}
    for inside, address, link in (
        ((), "fd00:1::1/64", "hop"),
        (("-n", "hop"), "fd00:1::9/64", "eth0"),
        (("-n", "hop"), "fd00:2::1/64", "upstream"),
        (("-n", "upstream"), "fd00:2::9/64", "eth0"),
    ):
        host.output("ip", *inside, "address", "add", address, "dev", link, "nodad")
    host.output("ip", "-6", "route", "add", "default", "via", "fd00:1::9")
    host.output("ip", "-n", "upstream", "-6", "route", "add", "default", "via", "fd00:2::1")
    for family in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        host.output(*host.on("hop", "sysctl", "-q", "-w", f"net.{family}=1"))
    host.node(11)
    host.announce(11, "10.26.23.33/32")
    ours, theirs = sides[by]
    upstream = {**LAN, "address": theirs, "multihop": 5, "communities": ["65000:1"]}
    done = host.configure(upstreams={"lan": upstream})
    assert (done.returncode, done.stderr) == (0, "")
    host.upstream(host=ours)
    eventually(lambda: host.told(ours) == {"10.26.23.33/32": ours})
    assert host.told(ours, "communities") == {"10.26.23.33/32": [(65000 << 16) + 1]}


def test_takes_from_each_node_its_own_pods_and_drops_no_session_for_it(host: Host) -> None:
    assert host.configure().returncode == 0
    for number in (11, 12):
        host.node(number)
    for prefix in ("10.26.23.32/32", "10.42.1.0/24", "10.42.2.0/24", "10.42.2.128/25", "10.42.3.0/24"):
        host.announce(12, prefix)
    eventually(lambda: host.routes() == ["10.26.23.32"])
    host.announce(11, "10.42.1.0/24")
    done = host.script("frr_pods.sh", "20", "10.26.23.11=10.42.1.0/24", "10.26.23.12=10.42.2.0/24")
    assert done.returncode == 0, done.stderr
    pods = ["10.42.1.0/24 10.26.23.11", "10.42.2.0/24 10.26.23.12"]
    assert host.next_hops() == ["10.26.23.32 10.26.23.12", *pods]
    assert host.configure(pool="10.26.23.64/27").returncode == 0
    eventually(lambda: host.next_hops() == pods)
    assert host.configure(nodes=["10.26.23.12"]).returncode == 0
    eventually(lambda: host.next_hops() == ["10.26.23.32 10.26.23.12", pods[1]])
    assert host.script("frr_pods.sh", "0").returncode == 0
    eventually(lambda: host.routes() == ["10.26.23.32"])
    assert host.peers()["10.26.23.12"]["connectionsDropped"] == 0


@pytest.mark.skipif(not shutil.which("nft"), reason="nft is missing: scripts/setup-routers, or make e2e")
@pytest.mark.parametrize("asn", [64512, 64513])
def test_the_firewall_lets_agents_pass_with_ibgp_and_with_ebgp(host: Host, asn: int) -> None:
    multihop: dict[str, Any] = {"ebgp-multihop": {"config": {"enabled": True, "multihop-ttl": 255}}}
    assert host.configure(node_asn=asn).returncode == 0
    assert (
        host.script(
            "firewall.sh", "lxdbr0", GATEWAY, "6443", "10.26.23.32/27", "", "10.26.23.11", "10.26.23.12"
        ).returncode
        == 0
    )
    host.node(11, asn=asn, **(multihop if asn != 64512 else {}))
    eventually(lambda: host.established(11))
    host.announce(11, "10.26.23.32/32")
    eventually(lambda: host.next_hops() == ["10.26.23.32 10.26.23.11"])


def test_accepts_sessions_from_its_nodes_alone(host: Host) -> None:
    assert host.configure().returncode == 0
    host.node(99)
    host.node(12)
    eventually(lambda: host.established(12))
    assert set(host.peers()) == {"10.26.23.11", "10.26.23.12"}


def test_the_password_is_demanded_and_never_shown(host: Host) -> None:
    assert host.configure().returncode == 0
    host.node(11)
    host.node(12, "")
    eventually(lambda: host.established(11))
    assert not host.established(12)
    changes: list[dict[str, Any]] = [
        {"pool": "10.26.23.64/27"},
        {"nodes": ["10.26.23.12"]},
        {"asn": 64513},
        {"node_asn": 64514},
        {"password": PASSWORD + "-2"},
        {"keepalive_time_seconds": 3, "hold_time_seconds": 9},
    ]
    for change in changes:
        done = host.configure(**change)
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        running = host.output("vtysh", "-c", "show running-config")
        for line in frr_lines(change):
            assert line in running, change
    assert PASSWORD not in (host.root / "vtysh.told").read_text()
    logs = [file for file in (host.root / "var/log").rglob("*") if file.is_file()]
    assert not [file for file in logs if PASSWORD in file.read_text()]
    assert PASSWORD not in host.run("sh", "-c", "cat /run/frr/*.txt").stdout
    assert (host.root / "etc/frr/frr.conf").stat().st_mode & 0o777 == 0o640


def frr_lines(change: dict[str, Any]) -> list[str]:
    """Lines that FRR's running configuration has once `change` is in force."""
    known = {
        "pool": "permit {} ge 32 le 32",
        "asn": "router bgp {}\n",
        "node_asn": "remote-as {}\n",
        "password": "password {}\n",
    }
    return [known[key].format(value) for key, value in change.items() if key in known and value]


def test_destroy_brings_back_what_was(host: Host) -> None:
    was = {name: host.output("cat", f"/etc/frr/{name}") for name in ("frr.conf", "daemons")}
    assert host.configure().returncode == 0
    assert host.output("cat", "/etc/frr/frr.conf") != was["frr.conf"]
    assert host.script("frr_restore.sh").returncode == 0
    assert {name: host.output("cat", f"/etc/frr/{name}") for name in was} == was
    assert host.daemons() == {}, "it did not run before"
    assert host.output("cat", "/proc/sys/net/ipv4/ip_nonlocal_bind") == "0\n"
    assert host.run("ls", "/var/lib/cilium-bgp", "/etc/sysctl.d/60-cilium-bgp-router.conf").stdout == ""
    assert host.script("frr_restore.sh").returncode == 0


def test_destroy_leaves_a_router_that_ran_running(host: Host) -> None:
    host.output("sh", "-c", "echo 'ip route 198.51.100.0/24 10.26.23.9' >>/etc/frr/frr.conf; service frr start")
    assert host.configure().returncode == 0
    assert host.script("frr_restore.sh").returncode == 0
    assert set(host.daemons()) == {"zebra"}
    eventually(lambda: "198.51.100.0/24" in host.output("ip", "route"))


def test_refuses_an_address_that_the_bridge_does_not_have(host: Host) -> None:
    host.output("ip", "address", "flush", "dev", "lxdbr0")
    done = host.configure()
    assert done.returncode == 1
    assert done.stderr.startswith(f"lxdbr0 has no address {GATEWAY}: ")


def test_what_was_written_but_never_loaded_is_loaded_by_the_next_run(host: Host) -> None:
    assert host.configure().returncode == 0
    told = "s/permit 10.26.23.32/permit 10.26.23.64/"
    # A run that was killed right before the reload.
    host.output("sh", "-c", f"sed -i '{told}' /etc/frr/frr.conf; : >/var/lib/cilium-bgp/frr.sh.changed")
    assert host.configure(pool="10.26.23.64/27").returncode == 0
    assert "permit 10.26.23.64/27" in host.output("vtysh", "-c", "show running-config")


def test_a_silent_nodes_routes_go_with_the_hold_time_and_a_restarting_agents_stay(host: Host) -> None:
    done = host.configure(hold_time_seconds=3, keepalive_time_seconds=1, restart_time_seconds=8)
    assert done.returncode == 0, done.stderr
    for number in (11, 12):
        host.node(number, **GRACEFUL)
        host.announce(number, "10.26.23.32/32")
    host.node(13)  # keeps the bridge up
    eventually(lambda: host.hops("10.26.23.32") == {"10.26.23.11", "10.26.23.12"})
    host.output("ip", "link", "set", "node12", "nomaster")  # nothing comes from it any more, and nothing says so
    eventually(lambda: host.hops("10.26.23.32") == {"10.26.23.11"}, 3 + 2)

    host.output("pkill", "-9", "-f", "gobgpd.*/node11.json")
    began = time.monotonic()
    eventually(lambda: not host.established(11), 2)
    host.agent(11, "--graceful-restart")
    host.announce(11, "10.26.23.32/32")
    eventually(lambda: host.established(11))
    assert host.hops("10.26.23.32") == {"10.26.23.11"}, "kept while the agent was away"
    time.sleep(max(0.0, began + 8 + 2 - time.monotonic()))
    assert host.hops("10.26.23.32") == {"10.26.23.11"}
    host.output("pkill", "-9", "-f", "gobgpd.*/node11.json")
    began = time.monotonic()
    eventually(lambda: host.hops("10.26.23.32") == set(), 8 + 2)
    assert time.monotonic() - began > 8 - 1, "not for its 120 s"


def test_a_node_that_announces_too_much_is_heard_no_further_and_keeps_its_session(host: Host) -> None:
    assert host.configure(pool="10.26.23.32/32").returncode == 0
    host.node(11)
    for prefix in (*[f"10.42.{number}.0/24" for number in range(20)], "10.26.23.32/32"):
        host.announce(11, prefix)
    eventually(lambda: host.routes() == ["10.26.23.32"])
    assert host.peers()["10.26.23.11"]["connectionsDropped"] == 0
