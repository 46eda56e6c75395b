"""A machine you already have as the host."""

from typing import TypedDict

import pulumi

from components.address import in_url, loopback
from components.fingerprint import fingerprint
from components.remote import Connection


class ExistingHostArgs(TypedDict):
    address: str
    """Address or name that SSH and the Kubernetes API are reached at."""
    port: int
    """TCP port of SSH."""
    user: str
    """Login user: root, or one with sudo without a password."""
    host_key: str
    """The machine's public key, `ssh-ed25519 AAAA…` (`ssh-keyscan -t ed25519 ADDRESS`)."""
    private_key: pulumi.Input[str]
    """SSH private key of this stack; a secret."""


class ExistingHost(pulumi.ComponentResource):
    """Owns nothing: the machine was there before and stays."""

    connection: Connection
    """SSH to the machine, host key pinned."""
    address: pulumi.Output[str]
    """As given."""
    ssh: pulumi.Output[str]
    """The command that logs in."""
    api_listen: str
    """Where on the host the Kubernetes API listens, as in a URL: loopback alone where the host is reached by it."""
    fingerprint: pulumi.Output[str]
    """Another one for another machine; a secret."""
    machine: pulumi.Resource | None
    """None: nothing on this host dies with it, all is deleted one by one."""

    def __init__(self, name: str, args: ExistingHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:ExistingHost", name, None, opts)
        self.machine = None
        self.address = pulumi.Output.from_input(args["address"])
        self.connection = Connection(
            host=args["address"],
            port=args["port"],
            user=args["user"],
            host_key=args["host_key"],
            private_key=args["private_key"],
        )
        self.fingerprint = fingerprint(self.connection.identity)
        self.ssh = pulumi.Output.from_input(f"ssh -p {args['port']} {args['user']}@{args['address']}")
        everywhere = "0.0.0.0" if in_url(args["address"]) == args["address"] else "[::]"  # noqa: S104
        self.api_listen = loopback(args["address"]) or everywhere
        self.register_outputs({"address": self.address})
