"""LXD and instances on a host, whatever runs in them."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict, cast

import pulumi

import components.lxd_topology
from components.lxd_host import LxdHost
from provider.checks import check
from provider.ssh import connection


class Instance(TypedDict):
    """A system container to be made."""

    address: str
    """IPv4 address on the bridge; with another one it is made anew."""
    generation: NotRequired[int]
    """With another one it is made anew; 1 by default."""


class LxdTopologyArgs(TypedDict):
    host: pulumi.Input[str]
    """Address or name of the machine that gets LXD, or has it."""
    host_key: pulumi.Input[str]
    """The machine's public key, `ssh-ed25519 AAAA…` (`ssh-keyscan -t ed25519 HOST`); no other one is accepted."""
    private_key: pulumi.Input[str]
    """SSH private key, OpenSSH or PEM, without a passphrase; a secret."""
    user: NotRequired[pulumi.Input[str]]
    """Login user: root, which is the default, or one with sudo without a password who is in LXD's group."""
    port: NotRequired[int]
    """TCP port of SSH; 22 by default."""
    bridge: str
    """Bridge's name, 2 to 15 characters."""
    bridge_address: str
    """The bridge's own address with its prefix length, e.g. `10.26.23.1/24`."""
    dhcp_range: str
    """FIRST-LAST on the bridge that DHCP gives to other instances."""
    instances: Mapping[str, Instance]
    """By name."""
    authorized_keys: Sequence[pulumi.Input[str]]
    """SSH public keys that the instances accept, besides the host's own."""
    image: NotRequired[str]
    """Image of instances to come: `ubuntu:NAME`, or `local:ALIAS` of one with cloud-init; `ubuntu:22.04` by default."""
    login_user: NotRequired[str]
    """The image's login user; `ubuntu` by default."""
    project: NotRequired[str]
    """LXD project; any but `default`, which is the default, is created and deleted."""
    storage_pool: NotRequired[str]
    """Storage pool's name; `default` by default."""
    storage_driver: NotRequired[str]
    """Storage pool's driver; `dir` by default."""
    timeout_seconds: NotRequired[int]
    """How long LXD's installation may take, and each instance to start and finish cloud-init; 600 by default."""
    protect: NotRequired[bool]
    """Refuse to delete the instances; false by default."""


class RunningInstance(TypedDict):
    """A system container that is there."""

    address: str
    """IPv4 address on the bridge."""
    hostKey: str
    """Its SSH host key, `ssh-ed25519 AAAA…`."""
    loginUser: str
    """The user who may log in, and has sudo without a password."""


class LxdTopology(pulumi.ComponentResource):
    """LXD on a host, with instances that have fixed addresses. They are privileged: root in one is root on the host."""

    instances: pulumi.Output[Mapping[str, RunningInstance]]
    """By name."""
    bridge: pulumi.Output[str]
    """Name of the bridge; known once it is there."""

    def __init__(self, name: str, args: LxdTopologyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        check(args)
        super().__init__("cilium-bgp:index:LxdTopology", name, None, opts)
        host, child = connection(args), pulumi.ResourceOptions(parent=self)
        project, seconds = args.get("project", "default"), args.get("timeout_seconds", 600)
        lxd = LxdHost(
            f"{name}-lxd",
            {"connection": host, "machine": None, "after": [], "project": project, "timeout_seconds": seconds},
            child,
        )
        topology = components.lxd_topology.LxdTopology(
            name,
            {
                "lxd": lxd.lxd,
                "connection": host,
                "machine": None,
                "project": project,
                "storage_pool": args.get("storage_pool", "default"),
                "storage_driver": args.get("storage_driver", "dir"),
                "bridge": args["bridge"],
                "bridge_address": args["bridge_address"],
                "dhcp_range": args["dhcp_range"],
                "image": args.get("image", "ubuntu:22.04"),
                "login_user": args.get("login_user", "ubuntu"),
                "private_key": host.private_key,
                "authorized_keys": [*args["authorized_keys"], lxd.public_key],
                "snapshots": None,
                "kernel_modules": lxd.kernel_modules,
                "nodes": {
                    node: {"address": its["address"], "generation": its.get("generation", 1), "snapshots": False}
                    for node, its in args["instances"].items()
                },
                "timeout_seconds": seconds,
                "protect": args.get("protect", False),
            },
            child,
        )
        for node in topology.nodes.values():  # no cluster to be waited for
            node.in_cluster.set_result(node.machine)
        self.bridge = topology.bridge
        self.instances = pulumi.Output.all(
            **{
                node: pulumi.Output.all(
                    address=its.address, hostKey=its.connection.host_key, loginUser=its.connection.user
                )
                for node, its in topology.nodes.items()
            }
        ).apply(lambda its: cast(Mapping[str, RunningInstance], its))
        self.register_outputs({"bridge": self.bridge, "instances": self.instances})
