"""A machine of the cluster, as one component hands it to the next."""

from dataclasses import dataclass

import pulumi

from components.remote import Connection


@dataclass(frozen=True)
class Node:
    """A server or agent, keyed by its name everywhere."""

    address: pulumi.Output[str]
    """IPv4 address on the bridge."""
    connection: Connection
    """SSH as the login user, through the host, host key pinned."""
    machine: pulumi.Resource
    """The instance: what runs on the node dies with it."""
    identity: pulumi.Output[str]
    """Changes when the instance is made anew (its MAC address)."""
