"""LXD on the host, and what its kernel must give the nodes."""

from collections.abc import Sequence
from typing import TypedDict, cast

import pulumi

from components import remote
from components.remote import Connection, Script
from lxd_resources import Endpoint

# What k3s and Cilium load or expect: canonical/microk8s's LXC profile, then Cilium's kernel requirements
# (docs.cilium.io, System Requirements). Nodes cannot load modules, so the host does. Not br_netfilter, which k3s asks
# for on behalf of CNIs with a bridge: Cilium has none, and on the host it would put every bridge behind its firewall.
KERNEL_MODULES = (  # noqa: SIM905
    "ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh ip_tables ip6_tables netlink_diag nf_nat overlay "
    "iptable_nat iptable_mangle iptable_raw iptable_filter ip6table_mangle ip6table_raw ip6table_filter "
    "xt_socket xt_TPROXY xt_CT xt_mark ip_set ip_set_hash_ip cls_bpf sch_ingress vxlan"
).split()


class LxdHostArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    after: Sequence[pulumi.Resource]
    """What must be there before LXD is."""
    project: str
    """LXD project for the instances and profiles."""
    timeout_seconds: int
    """How long the installation may take."""


class LxdHost(pulumi.ComponentResource):
    """LXD installed and ready (snap, or the distribution's package; one that is there is adopted)."""

    lxd: pulumi.Output[Endpoint]
    """The way to LXD's socket, by SSH; a secret. LXD never listens on the network."""
    kernel_modules: pulumi.Output[str]
    """The modules that this host could load, separated by commas; empty where all is built in."""
    public_key: pulumi.Output[str]
    """The host's own SSH public key: who is on the host may enter the nodes, as in the article."""

    def __init__(self, name: str, args: LxdHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:LxdHost", name, None, opts)
        connection = args["connection"]
        child = pulumi.ResourceOptions(parent=self, deleted_with=args["machine"], depends_on=list(args["after"]))
        seconds = args["timeout_seconds"]
        installed = remote.run(
            f"{name}-install",
            Script("lxd_install.sh", [str(seconds)], seconds + 60),
            connection,
            child,
        )
        kernel = remote.run(
            f"{name}-kernel",
            Script("kernel_prepare.sh", KERNEL_MODULES),
            connection,
            child,
            delete=Script("kernel_restore.sh"),
        )
        key = remote.run(f"{name}-ssh-key", Script("ssh_key.sh"), connection, child, delete=Script("ssh_key_remove.sh"))
        self.kernel_modules = kernel.stdout
        self.public_key = key.stdout
        # By its ID, which an update leaves: what the installation says is nothing that LXD's entities hang on.
        self.lxd = pulumi.Output.secret(
            pulumi.Output.all(connection.way(), installed.id).apply(
                lambda both: cast(Endpoint, {**both[0], "project": args["project"]})
            )
        )
        self.register_outputs({"kernelModules": self.kernel_modules, "publicKey": self.public_key})
