"""The pods' ranges on the host's router."""

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi

from components import remote
from components.fingerprint import fingerprint
from components.node import ControlPlane
from components.remote import Connection, Script


class PodRoutesArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    server: ControlPlane
    """For kubectl."""
    nodes: Mapping[str, pulumi.Input[str]]
    """Address of each node, by name."""
    cluster_cidr: str
    """Range of all pods: no node's is outside of it."""
    rests_on: Sequence[pulumi.Input[str]]
    """When one of these changes, the ranges are asked for anew: a node that was made anew may have another."""
    timeout_seconds: int
    """How long until every node has a range, and the host a route to it."""


class PodRoutes(pulumi.ComponentResource):
    """From each node the router takes the range of that node's own pods, which only Cilium, once it runs, can tell."""

    routes: pulumi.Output[str]
    """`ADDRESS=RANGE…`, known once the host has these routes."""
    fingerprint: pulumi.Output[str]
    """Known then too; another one with every change of what they rest on. A secret."""

    def __init__(self, name: str, args: PodRoutesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:PodRoutes", name, None, opts)
        limit = args["timeout_seconds"]
        ranges = remote.run(
            f"{name}-ranges",
            Script("pod_ranges.py", [str(limit), args["cluster_cidr"], *args["nodes"]], limit + 60),
            args["server"].connection,
            pulumi.ResourceOptions(parent=self, deleted_with=args["server"].machine),
            again=args["rests_on"],
        ).stdout.apply(json.loads)
        pairs = [
            pulumi.Output.format("{0}={1}", address, ranges[node].apply(",".join))
            for node, address in args["nodes"].items()
        ]
        self.routes = remote.run(
            f"{name}-router",
            Script("frr_pods.sh", [str(limit), *pairs], limit + 60),
            args["connection"],
            pulumi.ResourceOptions(parent=self, deleted_with=args["machine"]),
            delete=Script("frr_pods.sh", ["0"]),
            again=args["rests_on"],
        ).stdout
        self.fingerprint = fingerprint(self.routes, *args["rests_on"])
        self.register_outputs({"routes": self.routes})
