"""A machine of the cluster, as one component hands it to the next."""

import asyncio
from dataclasses import dataclass

import pulumi

from components.remote import Connection, Servers

SNAPSHOTS = "/var/lib/cilium-bgp/snapshots"
"""Where a server sees the host's folder of snapshots."""


@dataclass(frozen=True)
class Node:
    """A server or agent, keyed by its name everywhere."""

    address: pulumi.Output[str]
    """IPv4 address on the bridge."""
    connection: Connection
    """SSH as the login user, through the host, host key pinned."""
    machine: pulumi.Resource
    """The instance's identity: what runs on the node dies with it, also when another instance takes its place."""
    identity: pulumi.Output[str]
    """Another one for another instance, and nothing else; known in a preview that leaves the instance there."""
    in_cluster: "asyncio.Future[pulumi.Resource]"
    """What is there once the cluster has the node; set by who brings it there, awaited by the next one that is made
    anew."""


@dataclass(frozen=True)
class ControlPlane:
    """The cluster as what runs on it is asked about: by whichever server answers."""

    connection: Servers
    """Where kubectl works."""
    machine: pulumi.Resource
    """What is on the cluster dies with it."""
    identity: pulumi.Output[str]
    """What the cluster is known by: another one for another cluster."""
