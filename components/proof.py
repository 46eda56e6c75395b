"""The check that it really works."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pulumi

from components import remote
from components.boot import Boot
from components.fingerprint import fingerprint
from components.node import ControlPlane
from components.remote import Connection, Script


class ProofArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    server: ControlPlane
    """For kubectl."""
    nodes: Mapping[str, pulumi.Input[str]]
    """Address of each node that must have a session."""
    pool: str
    """CIDR of the LoadBalancer addresses."""
    upstreams: Mapping[str, tuple[str, str]]
    """Address of each router beyond the host, and the prefix that it must have been told; empty: each address."""
    services: Sequence[str]
    """Services of type LoadBalancer that must have an address, as "namespace/name"."""
    http: Sequence[str]
    """Those of them that must answer HTTP on port 80."""
    rests_on: Sequence[pulumi.Input[str]]
    """When one of these changes, it is proven anew: fingerprints of all that could make it untrue."""
    timeout_seconds: int
    """How long until all of it holds."""


class Proof(pulumi.ComponentResource):
    """Every node's session Established, each of the stack's LoadBalancer addresses a route of the host's kernel, an
    HTTP answer; and upstreams told of them.

    Asked of FRR, the kernel and the Service itself, on the host; what does not hold in time fails the `up`. A refresh
    that finds that the host was restarted makes the next `up` ask again.
    """

    load_balancer_ips: pulumi.Output[dict[str, str]]
    """Address of every Service of type LoadBalancer, by "namespace/name"."""
    report: pulumi.Output[dict[str, Any]]
    """`sessions`: state and number of prefixes by node; `upstreams`: state and what it was told by name; `routes`: next
    hops by address; `http`: status by Service."""
    fingerprint: pulumi.Output[str]
    """Known once it is proven; another one when it was proven anew. A secret."""

    def __init__(self, name: str, args: ProofArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Proof", name, None, opts)
        limit, connection = args["timeout_seconds"], args["connection"]
        on_host = pulumi.ResourceOptions(parent=self, deleted_with=args["machine"])
        boot = Boot(
            f"{name}-boot",
            machine=connection.way(),
            identity=connection.identity,
            command=Script("booted.sh").command(connection.user, f"{name}-boot"),
            opts=on_host,
        )
        rests_on = [boot.started, *args["rests_on"]]
        addresses = remote.run(
            f"{name}-addresses",
            Script("load_balancer_ips.py", [str(limit), args["pool"], *args["services"]], limit + 60),
            args["server"].connection,
            pulumi.ResourceOptions(parent=self, deleted_with=args["server"].machine),
            again=rests_on,
        )
        nodes = pulumi.Output.json_dumps(args["nodes"])
        own, beyond = json.dumps(list(args["services"])), json.dumps(args["upstreams"])
        proven = remote.run(
            f"{name}-routes",
            Script("proof.py", [str(limit), nodes, beyond, addresses.stdout, own, *args["http"]], limit + 60),
            connection,
            on_host,
            again=rests_on,
        )
        self.load_balancer_ips = addresses.stdout.apply(json.loads)
        self.report = proven.stdout.apply(json.loads)
        self.fingerprint = fingerprint(proven.stdout, *rests_on)
        self.register_outputs({"loadBalancerIps": self.load_balancer_ips, "report": self.report})
