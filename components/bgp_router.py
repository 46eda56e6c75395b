"""FRR on the host: the router that Cilium's agents peer with."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import pulumi

from components import remote
from components.fingerprint import fingerprint
from components.random_hex import RandomHex
from components.remote import Connection, Script


class UpstreamArgs(TypedDict):
    """A router beyond the host, with an eBGP session of its own."""

    address: str
    """Its IP address, which this router dials."""
    asn: int
    """Its autonomous system number, another one than the router's and the nodes'."""
    multihop: int | None
    """How many hops away it is at most; None: on a network of the host's own."""
    announce: Literal["addresses", "pool"]
    """What it is told: each /32 that the nodes announce, or the whole pool while they announce one."""
    communities: Sequence[str]
    """What goes with that (RFC 1997), e.g. `65000:1`."""
    accept_default_route: bool
    """Whether a default route is taken from it; nothing else ever is."""
    password: pulumi.Input[str] | None
    """TCP MD5 password (RFC 2385) shared with it, a secret; None: the session is not signed."""


class BgpRouterArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    bridge: pulumi.Input[str]
    """Name of the bridge that the nodes are on."""
    address: pulumi.Input[str]
    """The host's address on it: where bgpd listens and what nodes dial."""
    asn: int
    """Autonomous system number of the router, 1 to 4294967294."""
    node_asn: int
    """Autonomous system number of the nodes."""
    nodes: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Addresses that sessions are accepted from."""
    pool: pulumi.Input[str]
    """CIDR whose /32s are accepted. Ranges of pods come later, with `PodRoutes`."""
    hold_time_seconds: int
    """BGP hold time (RFC 4271 section 4.2), 0 or at least 3."""
    keepalive_time_seconds: int
    """BGP keepalive interval, normally a third of it."""
    restart_time_seconds: int | None
    """How long routes stay while a node's agent restarts (RFC 4724); None: not at all."""
    password: pulumi.Input[str] | None
    """TCP MD5 password (RFC 2385) shared with the nodes, a secret; None: one is made."""
    upstreams: Mapping[str, UpstreamArgs]
    """Routers that are told of the pool, by name."""


def frr_conf(args: Mapping[str, Any], password: str) -> str:
    """frr.conf (FRR 8.1 to 10): takes the pool's addresses from the nodes and tells them nothing; tells upstreams those
    addresses and takes nothing, or a default route. `args`: the component's, as known."""
    pool, upstreams = args["pool"], args["upstreams"]
    timers = f"{args['keepalive_time_seconds']} {args['hold_time_seconds']}"
    whole = any(its["announce"] == "pool" for its in upstreams.values()) and not pool.endswith("/32")
    far = any(its["multihop"] for its in upstreams.values())
    told = {"addresses": f"{pool} ge 32 le 32", "pool": pool}
    return "\n".join(
        [
            "! Written by cilium-bgp. What was here before is in /var/lib/cilium-bgp/frr and comes back on destroy.",
            "frr defaults datacenter",
            "log syslog informational",
            "service integrated-vtysh-config",
            "!",
            *(f"ip prefix-list NODE-{node} seq 10 permit {pool} ge 32 le 32" for node in args["nodes"]),
            *(
                f"ip prefix-list UPSTREAM-{name} seq 10 permit {told[its['announce']]}"
                for name, its in upstreams.items()
            ),
            *(["ip prefix-list DEFAULT seq 10 permit 0.0.0.0/0"] if upstreams else []),
            "!",
            *(
                line
                for node in args["nodes"]
                for line in (f"route-map NODE-{node} permit 10", f" match ip address prefix-list NODE-{node}", "!")
            ),
            "route-map TO-NODES deny 10",
            "!",
            # What is several hops away is reached by the default route.
            *(["ip nht resolve-via-default", "ipv6 nht resolve-via-default", "!"] if far else []),
            *(
                line
                for name, its in upstreams.items()
                for line in (
                    f"route-map TO-UPSTREAM-{name} permit 10",
                    f" match ip address prefix-list UPSTREAM-{name}",
                    *([f" set community {' '.join(its['communities'])}"] if its["communities"] else []),
                    "!",
                    f"route-map FROM-UPSTREAM-{name} {'permit' if its['accept_default_route'] else 'deny'} 10",
                    " match ip address prefix-list DEFAULT",
                    "!",
                )
            ),
            f"router bgp {args['asn']}",
            f" bgp router-id {args['address']}",
            " no bgp default ipv4-unicast",
            " no bgp ebgp-requires-policy",
            " bgp bestpath as-path multipath-relax",
            # An agent that restarts just closes its connection. With notifications (RFC 8538) FRR would take a node
            # that went silent for one too, and keep its routes beyond the hold time.
            " no bgp graceful-restart notification",
            # FRR's own limit is 360 s. An agent's that still says a longer time is cut off here.
            *([f" bgp graceful-restart stalepath-time {stale}"] if (stale := args["restart_time_seconds"]) else []),
            " neighbor NODES peer-group",
            f" neighbor NODES remote-as {args['node_asn']}",
            f" neighbor NODES password {password}",
            f" neighbor NODES timers {timers}",
            " neighbor NODES passive",
            " neighbor NODES graceful-restart-helper",
            *(f" neighbor {node} peer-group NODES" for node in args["nodes"]),
            *(
                f" neighbor {its['address']} {line}"
                for name, its in upstreams.items()
                for line in (
                    f"remote-as {its['asn']}",
                    f"description {name}",
                    *([f"password {its['password']}"] if its["password"] else []),
                    *([f"ebgp-multihop {its['multihop']}"] if its["multihop"] else []),
                    *(["capability extended-nexthop"] if ":" in its["address"] else []),
                    f"timers {timers}",
                )
            ),
            " address-family ipv4 unicast",
            "  neighbor NODES activate",
            "  neighbor NODES soft-reconfiguration inbound",
            "  neighbor NODES route-map TO-NODES out",
            *(f"  neighbor {node} route-map NODE-{node} in" for node in args["nodes"]),
            *(
                f"  neighbor {its['address']} {line}"
                for name, its in upstreams.items()
                for line in ("activate", f"route-map TO-UPSTREAM-{name} out", f"route-map FROM-UPSTREAM-{name} in")
            ),
            *([f"  aggregate-address {pool}"] if whole else []),
            "  maximum-paths 64",
            "  maximum-paths ibgp 64",
            " exit-address-family",
            "exit",
            "",
        ]
    )


class BgpRouter(pulumi.ComponentResource):
    """FRR, installed and configured; changes are reloaded without dropping a session."""

    peer_address: pulumi.Output[str]
    """Address that nodes dial, on TCP 179; known once bgpd listens there."""
    peer_asn: pulumi.Output[int]
    """The router's autonomous system number."""
    password: pulumi.Output[str]
    """TCP MD5 password that nodes sign with; a secret."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of its configuration; a secret."""

    def __init__(self, name: str, args: BgpRouterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:BgpRouter", name, None, opts)
        # Without one a pod takes its node's session: its packets leave with the node's address.
        given = args["password"]
        own = RandomHex(f"{name}-password", opts=pulumi.ResourceOptions(parent=self)).value if given is None else given
        self.password = pulumi.Output.secret(own)
        said = {key: value for key, value in args.items() if key not in ("connection", "machine")}
        conf = pulumi.Output.all(said, self.password).apply(lambda known: frr_conf(*known))
        configured = remote.run(
            f"{name}-frr",
            Script("frr.sh", [args["address"], args["bridge"]], seconds=600),
            args["connection"],
            pulumi.ResourceOptions(parent=self, deleted_with=args["machine"]),
            stdin=conf,
            delete=Script("frr_restore.sh"),
        )
        # By its ID, which an update leaves: a preview of one knows both.
        self.peer_address = pulumi.Output.all(args["address"], configured.id).apply(lambda known: str(known[0]))
        self.peer_asn = configured.id.apply(lambda _: args["asn"])
        self.fingerprint = fingerprint(conf, configured.stdout)
        self.register_outputs({"peerAddress": self.peer_address, "peerAsn": self.peer_asn})
