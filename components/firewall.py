"""The host's firewall for the nodes' bridge."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi

from components import remote
from components.fingerprint import fingerprint
from components.remote import Connection, Script


class FirewallArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    after: Sequence[pulumi.Resource]
    """What must have passed before the host is changed."""
    bridge: str
    """Name of the bridge that the nodes are on; it need not be there yet."""
    gateway: str
    """The host's address on it."""
    nodes: Sequence[str]
    """Addresses that may speak BGP."""
    api_port: int
    """TCP port of the Kubernetes API on the host, which the nodes join by."""
    pool: str
    """CIDR of the LoadBalancer addresses."""
    open_to: Sequence[str]
    """Networks beyond the host from which they may be asked."""


class Firewall(pulumi.ComponentResource):
    """nftables and, where the host has them, iptables rules of the stack's own, now and at every boot.

    From beyond the host nothing comes in to the bridge but answers, what the host itself forwards, and what is open to
    somebody there. BGP comes from nodes alone. What nodes need is let through, whatever else the host's firewall drops.
    """

    rules: pulumi.Output[str]
    """Known once they are in force."""
    fingerprint: pulumi.Output[str]
    """Another one with every change of them. A secret."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Firewall", name, None, opts)
        rules = remote.run(
            f"{name}-rules",
            Script(
                "firewall.sh",
                [
                    args["bridge"],
                    args["gateway"],
                    str(args["api_port"]),
                    args["pool"] if args["open_to"] else "",
                    ",".join(args["open_to"]),
                    *args["nodes"],
                ],
                seconds=600,
            ),
            args["connection"],
            pulumi.ResourceOptions(parent=self, deleted_with=args["machine"], depends_on=list(args["after"])),
            delete=Script("firewall_remove.sh"),
        )
        self.rules = rules.stdout
        self.fingerprint = fingerprint(rules.create, rules.stdout)
        self.register_outputs({"rules": self.rules})
