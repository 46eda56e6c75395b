"""Who may enter the host."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi

from components import remote
from components.remote import Connection, Script


class AccessArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    after: Sequence[pulumi.Resource]
    """What must be there before anything on the host is changed."""
    authorized_keys: Sequence[str]
    """SSH public keys that may log in as the connection's user, the connection's own among them."""


class Access(pulumi.ComponentResource):
    """The stack's SSH keys on the host. They stay when the stack goes: the last steps of that need them."""

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Access", name, None, opts)
        user, whose = args["connection"].user, "own" if args["connection"].owned else "others"
        remote.run(
            f"{name}-authorized-keys",
            Script("authorized_keys.sh", [user, whose, *args["authorized_keys"]], 60),
            args["connection"],
            pulumi.ResourceOptions(parent=self, deleted_with=args["machine"], depends_on=args["after"]),
        )
        self.register_outputs({"user": user})
