"""FRR on a host that need not carry one of our clusters."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi

import components.bgp_router
from provider.checks import check
from provider.ssh import connection


class BgpRouterArgs(TypedDict):
    host: pulumi.Input[str]
    """Address or name of the machine that becomes a router."""
    host_key: pulumi.Input[str]
    """The machine's public key, `ssh-ed25519 AAAA…` (`ssh-keyscan -t ed25519 HOST`); no other one is accepted."""
    private_key: pulumi.Input[str]
    """SSH private key, OpenSSH or PEM, without a passphrase; a secret."""
    user: NotRequired[pulumi.Input[str]]
    """Login user: root, which is the default, or one with sudo without a password."""
    port: NotRequired[int]
    """TCP port of SSH; 22 by default."""
    bridge: pulumi.Input[str]
    """Name of its network interface that the peers are on."""
    address: pulumi.Input[str]
    """The host's address on it: where bgpd listens and what peers dial."""
    asn: int
    """Autonomous system number of the router, 1 to 4294967294."""
    node_asn: int
    """Autonomous system number of the peers."""
    nodes: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Addresses that sessions are accepted from."""
    pool: pulumi.Input[str]
    """CIDR whose /32s are accepted from them."""
    hold_time_seconds: NotRequired[int]
    """BGP hold time (RFC 4271 section 4.2), 0 or at least 3; 90 by default."""
    keepalive_time_seconds: NotRequired[int]
    """BGP keepalive interval, normally a third of it; 30 by default."""
    restart_time_seconds: NotRequired[int]
    """How long routes stay while a peer restarts (RFC 4724); not at all by default."""
    password: NotRequired[pulumi.Input[str]]
    """TCP MD5 password (RFC 2385) shared with the peers, a secret; one is made by default."""


class BgpRouter(components.bgp_router.BgpRouter):
    """FRR on a host: it learns the /32s of a pool from its peers. FRR's former configuration comes back on destroy."""

    peer_address: pulumi.Output[str]
    """Address that peers dial, on TCP 179; known once bgpd listens there."""
    peer_asn: pulumi.Output[int]
    """The router's autonomous system number."""
    password: pulumi.Output[str]
    """TCP MD5 password that peers sign with; a secret."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of its configuration; a secret."""

    def __init__(self, name: str, args: BgpRouterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        check(args)
        super().__init__(
            name,
            {
                "connection": connection(args),
                "machine": None,
                "bridge": args["bridge"],
                "address": args["address"],
                "asn": args["asn"],
                "node_asn": args["node_asn"],
                "nodes": args["nodes"],
                "pool": args["pool"],
                "hold_time_seconds": args.get("hold_time_seconds", 90),
                "keepalive_time_seconds": args.get("keepalive_time_seconds", 30),
                "restart_time_seconds": args.get("restart_time_seconds"),
                "password": args.get("password"),
                "upstreams": {},
            },
            opts,
        )
