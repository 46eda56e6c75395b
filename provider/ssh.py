"""The way to the machine that a component is on, as a program in any language says it.

The fields are repeated in each component's arguments: of inherited ones the schema would lose what they mean, and an
object that holds a secret comes from some languages as one value, which Pulumi's provider host cannot take apart.
"""

from typing import NotRequired, TypedDict

import pulumi

from components.remote import Connection


class Ssh(TypedDict):
    """A machine that SSH reaches."""

    host: pulumi.Input[str]
    host_key: pulumi.Input[str]
    private_key: pulumi.Input[str]
    user: NotRequired[pulumi.Input[str]]
    port: NotRequired[int]


def connection(ssh: Ssh) -> Connection:
    """SSH to the machine, host key pinned."""
    return Connection(
        host=ssh["host"],
        host_key=ssh["host_key"],
        private_key=pulumi.Output.secret(ssh["private_key"]),
        user=ssh.get("user", "root"),
        port=ssh.get("port", 22),
    )
