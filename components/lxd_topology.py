"""The LXD entities that the cluster lives in."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypedDict

import pulumi

from components import remote
from components.node import SNAPSHOTS, Node
from components.remote import Connection, Script
from lxd_resources import Endpoint, Identity, Instance, Network, Profile, Project, StoragePool


class NodeArgs(TypedDict):
    """An instance to be made."""

    address: str
    """IPv4 address on the bridge; with another one it is made anew."""
    generation: int
    """With another one it is made anew."""
    snapshots: bool
    """Whether it sees the folder of snapshots."""


class LxdTopologyArgs(TypedDict):
    lxd: pulumi.Input[Endpoint]
    """LXD's API on the host; a secret."""
    connection: Connection
    """SSH to the host: the way to the nodes."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    project: str
    """LXD project; any but `default` is created and deleted."""
    storage_pool: str
    """Storage pool's name."""
    storage_driver: str
    """Storage pool's driver, e.g. `dir`; overlayfs, which k3s uses, does not work on zfs."""
    bridge: str
    """Bridge's name, 15 characters at most."""
    bridge_address: str
    """The bridge's own address with its prefix length, e.g. `10.26.23.1/24`."""
    dhcp_range: str
    """FIRST-LAST, apart from the nodes and the load balancer pool."""
    image: str
    """Image of the nodes: `ubuntu:22.04`, `images:debian/12`, `local:ALIAS`."""
    login_user: str
    """The image's login user, e.g. `ubuntu`; has sudo without a password."""
    private_key: pulumi.Input[str]
    """SSH private key that the nodes accept; a secret."""
    authorized_keys: Sequence[pulumi.Input[str]]
    """SSH public keys that the nodes accept, and no others."""
    snapshots: str | None
    """Folder of the host for the cluster's snapshots, made if it is not there."""
    kernel_modules: pulumi.Input[str]
    """Modules that the host could load, separated by commas."""
    nodes: Mapping[str, NodeArgs]
    """By name."""
    timeout_seconds: int
    """How long an instance may take to start and finish cloud-init."""
    protect: bool
    """Refuse to delete the instances."""


def user_data(authorized_keys: Sequence[str]) -> str:
    """cloud-init's user-data: the SSH keys of the image's default user."""
    return "#cloud-config\n" + json.dumps({"ssh_authorized_keys": list(authorized_keys)}) + "\n"


def k8s_profile(kernel_modules: str) -> dict[str, str]:
    """Profile of a node: microk8s's (github.com/canonical/microk8s, tests/lxc/microk8s.profile), for cgroup v1 and v2.

    Privileged and unconfined: root in a node is root on the host.
    """
    config = {
        "security.nesting": "true",
        "security.privileged": "true",
        "raw.lxc": "\n".join(
            [
                "lxc.apparmor.profile=unconfined",
                "lxc.mount.auto=proc:rw sys:rw cgroup:rw",
                "lxc.cgroup.devices.allow=a",
                "lxc.cgroup2.devices.allow=a",
                "lxc.cap.drop=",
            ]
        ),
    }
    # LXD starts no instance whose listed modules the host cannot load.
    return config | ({"linux.kernel_modules": kernel_modules} if kernel_modules else {})


# Without microk8s's /sys/fs/bpf: agents that share it overwrite each other's pinned maps.
K8S_DEVICES = {
    "kmsg": {"type": "unix-char", "source": "/dev/kmsg", "path": "/dev/kmsg"},
    "conntrack-hashsize": {
        "type": "disk",
        "source": "/sys/module/nf_conntrack/parameters/hashsize",
        "path": "/sys/module/nf_conntrack/parameters/hashsize",
        "required": "false",
    },
    "conntrack-max": {
        "type": "disk",
        "source": "/proc/sys/net/netfilter/nf_conntrack_max",
        "path": "/proc/sys/net/netfilter/nf_conntrack_max",
        "required": "false",
    },
}


def say_if_older(node: str, generation: int, wanted: Sequence[str], found: Sequence[str | None]) -> None:
    """Tell which node is not of what nodes are made of now; earlier versions did not keep all of that."""
    keys = ("lxd.image", "lxd.loginUser", "lxd.storagePool.name", "lxd.project")
    older = [f"{key} {old}" for key, old, new in zip(keys, found, wanted, strict=True) if old and old != new]
    if older:
        pulumi.log.info(
            f"{node} is of {', '.join(older)}; what is configured now is for nodes that are made from now on. "
            f"nodes.{node}.generation: {generation + 1} makes it anew"
        )


class LxdTopology(pulumi.ComponentResource):
    """Storage pool, bridge, profiles and one instance a node, each with a fixed address."""

    nodes: Mapping[str, Node]
    """By name, in the order given."""
    bridge: pulumi.Output[str]
    """Name of the bridge."""

    def __init__(self, name: str, args: LxdTopologyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:LxdTopology", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, deleted_with=args["machine"])
        lxd = pulumi.Output.from_input(args["lxd"])

        if args["project"] != "default":
            # Its own instances and profiles; images are shared, networks and pools are LXD's.
            config = {"features.images": "false", "features.profiles": "true", "features.storage.volumes": "true"}
            project = Project(
                f"{name}-project", lxd=lxd, name=args["project"], config=config, adopt="if-equal", opts=child
            )
            lxd = pulumi.Output.all(lxd, project.name).apply(lambda both: both[0])  # what follows is in it

        pool = StoragePool(
            f"{name}-pool",
            lxd=lxd,
            name=args["storage_pool"],
            driver=args["storage_driver"],
            adopt="if-equal",
            opts=child,
        )
        bridge = Network(
            f"{name}-bridge",
            lxd=lxd,
            name=args["bridge"],
            config={
                "ipv4.address": args["bridge_address"],
                "ipv4.nat": "true",
                "ipv4.dhcp.ranges": args["dhcp_range"],
                "ipv6.address": "none",
            },
            adopt="if-equal",
            opts=child,
        )
        # Not `default`, as in the article: other instances of that LXD may have it.
        k8s = Profile(
            f"{name}-profile-k8s",
            lxd=lxd,
            name="k8s",
            config=pulumi.Output.from_input(args["kernel_modules"]).apply(k8s_profile),
            devices=K8S_DEVICES,
            adopt="if-equal",
            opts=child,
        )

        folder = args["snapshots"]
        kept = (
            [remote.run(f"{name}-snapshots", Script("folder.sh", [folder]), args["connection"], child)]
            if folder
            else []
        )
        authorized = pulumi.Output.all(*args["authorized_keys"]).apply(lambda keys: "".join(f"{key}\n" for key in keys))
        wanted = [args["image"], args["login_user"], args["storage_pool"], args["project"]]
        self.bridge = bridge.name
        self.nodes = {}
        turn: list[asyncio.Future[pulumi.Resource]] = []
        for node, its in args["nodes"].items():
            devices: dict[str, Mapping[str, pulumi.Input[str]]] = {
                "eth0": {"type": "nic", "name": "eth0", "network": bridge.name, "ipv4.address": its["address"]},
                "root": {"type": "disk", "path": "/", "pool": pool.name},
            }
            if folder and its["snapshots"]:
                devices["snapshots"] = {"type": "disk", "source": folder, "path": SNAPSHOTS}
            instance = Instance(
                node,
                lxd=lxd,
                name=node,
                image=args["image"],
                profiles=[k8s.name],
                config={"cloud-init.user-data": pulumi.Output.all(*args["authorized_keys"]).apply(user_data)},
                devices=devices,
                # What cloud-init reads at the first boot cannot change later.
                files={"~/.ssh/authorized_keys": authorized},
                login_user=args["login_user"],
                generation=its["generation"],
                timeout_seconds=args["timeout_seconds"],
                opts=pulumi.ResourceOptions.merge(
                    child,
                    pulumi.ResourceOptions(
                        protect=args["protect"], depends_on=[*kept, *(turn if its["generation"] > 1 else [])]
                    ),
                ),
            )
            identity = Identity(
                f"{node}-identity", instance, args["connection"].identity, pulumi.ResourceOptions(parent=self)
            )
            its_address: pulumi.Output[str] = pulumi.Output.all(its["address"], identity.mac_address).apply(
                lambda both: both[0]
            )
            self.nodes[node] = Node(
                address=its_address,
                connection=Connection(
                    host=its_address,
                    user=identity.login_user,
                    private_key=args["private_key"],
                    host_key=identity.ssh_host_key,
                    proxy=args["connection"],
                    machine=identity.mac_address,
                ),
                machine=identity,
                identity=identity.mac_address,
                in_cluster=asyncio.get_running_loop().create_future(),
            )
            if its["generation"] > 1:  # of those that are made anew one waits for the other, of the first ones none
                turn = [self.nodes[node].in_cluster]
            pulumi.Output.all(identity.image, identity.login_user, identity.pool, identity.project).apply(
                partial(say_if_older, node, its["generation"], wanted)
            )
        self.register_outputs({"nodes": {node: its.address for node, its in self.nodes.items()}})
