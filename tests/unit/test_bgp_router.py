"""FRR on the host: what it is told, and in what order."""

from typing import Any

from components.bgp_router import BgpRouterArgs, UpstreamArgs, frr_conf
from components.remote import Connection
from tests.unit.graph import BGP_PASSWORD, OWN_PASSWORD, Secret, dev, plain, stack, values

ARGS: BgpRouterArgs = {
    "connection": Connection(host="192.0.2.10", private_key="", host_key=""),
    "machine": None,
    "bridge": "lxdbr0",
    "address": "10.26.23.1",
    "asn": 64512,
    "node_asn": 64513,
    "nodes": ["10.26.23.11", "10.26.23.12"],
    "pool": "10.26.23.32/27",
    "hold_time_seconds": 9,
    "keepalive_time_seconds": 3,
    "restart_time_seconds": 30,
    "password": None,
    "upstreams": {},
}
LAN: UpstreamArgs = {
    "address": "192.168.1.1",
    "asn": 65001,
    "multihop": None,
    "announce": "addresses",
    "communities": [],
    "accept_default_route": False,
    "password": None,
}
WHOLE = """\
! Written by cilium-bgp. What was here before is in /var/lib/cilium-bgp/frr and comes back on destroy.
frr defaults datacenter
log syslog informational
service integrated-vtysh-config
!
ip prefix-list NODE-10.26.23.11 seq 10 permit 10.26.23.32/27 ge 32 le 32
ip prefix-list NODE-10.26.23.12 seq 10 permit 10.26.23.32/27 ge 32 le 32
!
route-map NODE-10.26.23.11 permit 10
 match ip address prefix-list NODE-10.26.23.11
!
route-map NODE-10.26.23.12 permit 10
 match ip address prefix-list NODE-10.26.23.12
!
route-map TO-NODES deny 10
!
router bgp 64512
 bgp router-id 10.26.23.1
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 no bgp graceful-restart notification
 bgp graceful-restart stalepath-time 30
 neighbor NODES peer-group
 neighbor NODES remote-as 64513
 neighbor NODES password s3cret
 neighbor NODES timers 3 9
 neighbor NODES passive
 neighbor NODES graceful-restart-helper
 neighbor 10.26.23.11 peer-group NODES
 neighbor 10.26.23.12 peer-group NODES
 address-family ipv4 unicast
  neighbor NODES activate
  neighbor NODES soft-reconfiguration inbound
  neighbor NODES route-map TO-NODES out
  neighbor 10.26.23.11 route-map NODE-10.26.23.11 in
  neighbor 10.26.23.12 route-map NODE-10.26.23.12 in
  maximum-paths 64
  maximum-paths ibgp 64
 exit-address-family
exit
"""


def test_frr_is_told_this_and_nothing_else() -> None:
    assert frr_conf(ARGS, "s3cret") == WHOLE


def test_what_is_not_asked_for_is_missing_and_no_other_line() -> None:
    bare = frr_conf({**ARGS, "restart_time_seconds": None}, "s3cret")
    gone = [line for line in WHOLE.splitlines() if line not in bare.splitlines()]
    assert gone == [" bgp graceful-restart stalepath-time 30"]
    assert bare.splitlines() == [line for line in WHOLE.splitlines() if line not in gone]


def test_upstreams_are_told_the_pool_alone_and_nothing_is_taken_from_them() -> None:
    far: UpstreamArgs = {
        "address": "2001:db8::1",
        "asn": 65000,
        "multihop": 10,
        "announce": "pool",
        "communities": ["65000:1", "65000:2"],
        "accept_default_route": True,
        "password": "other",
    }
    conf = frr_conf({**ARGS, "upstreams": {"lan": LAN, "far": far}}, "s3cret")
    assert [line for line in conf.splitlines() if line not in WHOLE.splitlines()] == [
        "ip prefix-list UPSTREAM-lan seq 10 permit 10.26.23.32/27 ge 32 le 32",
        "ip prefix-list UPSTREAM-far seq 10 permit 10.26.23.32/27",
        "ip prefix-list DEFAULT seq 10 permit 0.0.0.0/0",
        "ip nht resolve-via-default",
        "ipv6 nht resolve-via-default",
        "route-map TO-UPSTREAM-lan permit 10",
        " match ip address prefix-list UPSTREAM-lan",
        "route-map FROM-UPSTREAM-lan deny 10",
        " match ip address prefix-list DEFAULT",
        "route-map TO-UPSTREAM-far permit 10",
        " match ip address prefix-list UPSTREAM-far",
        " set community 65000:1 65000:2",
        "route-map FROM-UPSTREAM-far permit 10",
        " match ip address prefix-list DEFAULT",
        " neighbor 192.168.1.1 remote-as 65001",
        " neighbor 192.168.1.1 description lan",
        " neighbor 192.168.1.1 timers 3 9",
        " neighbor 2001:db8::1 remote-as 65000",
        " neighbor 2001:db8::1 description far",
        " neighbor 2001:db8::1 password other",
        " neighbor 2001:db8::1 ebgp-multihop 10",
        " neighbor 2001:db8::1 capability extended-nexthop",
        " neighbor 2001:db8::1 timers 3 9",
        "  neighbor 192.168.1.1 activate",
        "  neighbor 192.168.1.1 route-map TO-UPSTREAM-lan out",
        "  neighbor 192.168.1.1 route-map FROM-UPSTREAM-lan in",
        "  neighbor 2001:db8::1 activate",
        "  neighbor 2001:db8::1 route-map TO-UPSTREAM-far out",
        "  neighbor 2001:db8::1 route-map FROM-UPSTREAM-far in",
        "  aggregate-address 10.26.23.32/27",
    ]


def test_an_upstream_may_have_any_name_and_nodes_are_told_nothing() -> None:
    conf = frr_conf({**ARGS, "upstreams": {"NODES": LAN}}, "s3cret")
    assert [line for line in conf.splitlines() if line.startswith("route-map TO-NODES ")] == [
        "route-map TO-NODES deny 10"
    ]
    assert "  neighbor 192.168.1.1 route-map TO-NODES out" not in conf.splitlines()


def test_dev_has_the_articles_numbers_and_a_session_for_every_node() -> None:
    lines = plain(dev()["router-frr"].inputs["stdin"]).splitlines()
    assert "router bgp 64512" in lines
    assert " neighbor NODES remote-as 64512" in lines
    assert " neighbor NODES timers 30 90" in lines
    assert [line for line in lines if line.endswith(" peer-group NODES")] == [
        f" neighbor 10.26.23.{last} peer-group NODES" for last in (11, 12, 13)
    ]


def changed(**bgp: Any) -> list[str]:
    lines: list[str] = plain(stack(values(bgp=bgp))["router-frr"].inputs["stdin"]).splitlines()
    return lines


def test_settings_reach_the_router() -> None:
    lines = changed(localAsn=65001, peerAsn=65000, holdTimeSeconds=9, keepaliveTimeSeconds=3, announcePodCidr=False)
    assert "router bgp 65000" in lines
    assert " neighbor NODES remote-as 65001" in lines
    assert " neighbor NODES timers 3 9" in lines
    assert f" neighbor NODES password {BGP_PASSWORD}" in lines
    assert not [line for line in lines if "10.42.0.0/16" in line]


def test_stale_routes_go_with_the_restart_time_where_an_agent_may_restart() -> None:
    pair = {"cilium": {"version": "1.16.19"}, "k3s": {"version": "v1.30.2+k3s1"}}
    restarts = stack(values(bgp={"mode": "control-plane", "gracefulRestart": True, "restartTimeSeconds": 7}, **pair))
    assert " bgp graceful-restart stalepath-time 7" in plain(restarts["router-frr"].inputs["stdin"]).splitlines()
    assert not [line for line in changed() if "stalepath" in line]


def test_it_listens_on_the_bridge_and_comes_after_it() -> None:
    frr = dev()["router-frr"]
    assert (frr.ran().file, frr.ran().parameters) == ("frr.sh", ("10.26.23.1", "lxdbr0"))
    assert "topology-bridge" in dev().before(frr)
    assert dev()["router-frr-finalizer"].ran("command").file == "frr_restore.sh"
    assert dev().dies_with(frr) == {"host-key", "host-instance"}


def test_the_stack_makes_a_password_unless_one_is_given_and_both_stay_secret() -> None:
    given = stack(secrets=OWN_PASSWORD)
    assert "router-password" not in [resource.name for resource in given]
    for graph, password in ((dev(), BGP_PASSWORD), (given, OWN_PASSWORD["bgpPassword"])):
        conf = graph["router-frr"].inputs["stdin"]
        assert isinstance(conf, Secret)
        assert f" neighbor NODES password {password}\n" in conf.value
    assert dev()["router-password"].additional_secret_outputs == {"value"}


def test_it_gives_address_and_asn_of_the_peer() -> None:
    assert dev().outputs_of("router") == {"peerAddress": "10.26.23.1", "peerAsn": 64512}
