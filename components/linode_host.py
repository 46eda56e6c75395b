"""A Linode VM as the host."""

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypedDict

import pulumi
from pulumi.output import Unknown

from components.fingerprint import fingerprint
from components.host_key import HostKey
from components.remote import Connection


class LinodeHostArgs(TypedDict):
    label: str
    """Linode label, unique in the account, 3 to 50 characters."""
    region: str
    """Region, e.g. `eu-central` (`linode-cli regions list`)."""
    type: str
    """Plan, e.g. `g7-highmem-1` (`linode-cli linodes types`)."""
    image: str
    """Image, e.g. `linode/ubuntu22.04`."""
    authorized_users: Sequence[str]
    """Linode users whose SSH keys root of a VM that is made accepts too."""
    public_key: str
    """SSH public key of this stack, accepted for root of a VM that is made."""
    private_key: pulumi.Input[str]
    """Its private half; a secret."""
    admin_cidrs: Sequence[str]
    """Networks that may reach SSH and the Kubernetes API."""
    api_port: int
    """TCP port of the Kubernetes API on the host."""
    open_ports: Sequence[int]
    """TCP ports of forwarded Services."""
    open_cidrs: Sequence[str]
    """Networks that may reach those ports."""
    protect: bool
    """Refuse to delete the VM."""


PRIVATE = [IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
ONLY_AT_CREATION = ["authorizedKeys", "authorizedUsers", "firewallId", "interfaceGeneration"]
"""Properties whose change would mean another VM to the provider (its documentation, linode_instance)."""


def public_address(addresses: Sequence[str]) -> str:
    """The lowest public one of a VM's IPv4 addresses, which come in any order, private ones among them."""
    found = sorted(map(IPv4Address, addresses))
    return str(next((one for one in found if not any(one in network for network in PRIVATE)), found[0]))


def firewall_label(label: str) -> str:
    """As long as it may be, 32 characters; those of two VMs stay two."""
    if len(label) <= 32:
        return label
    return f"{label[:23].rstrip('-_.')}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


class LinodeHost(pulumi.ComponentResource):
    """A VM behind a firewall that drops all but SSH and the Kubernetes API from the administrators' networks."""

    connection: Connection
    """SSH as root, host key pinned."""
    address: pulumi.Output[str]
    """Public IPv4 address."""
    ssh: pulumi.Output[str]
    """The command that logs in."""
    api_listen: str
    """Address of the host that the Kubernetes API listens on."""
    fingerprint: pulumi.Output[str]
    """Another one for another VM, and for one that was resized and so started again; a secret."""
    machine: pulumi.Resource | None
    """What everything on the host dies with: its pinned key, which goes with the VM, and with another in its place."""

    def __init__(self, name: str, args: LinodeHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        import pulumi_linode as linode  # noqa: PLC0415  a quarter of all imports, which other hosts do without

        super().__init__("cilium-bgp:index:LinodeHost", name, None, opts)
        rules = [
            ("ssh", "22", args["admin_cidrs"]),
            ("kubernetes-api", str(args["api_port"]), args["admin_cidrs"]),
            *((f"forward-{port}", str(port), args["open_cidrs"]) for port in args["open_ports"]),
        ]
        firewall = linode.Firewall(
            f"{name}-firewall",
            label=firewall_label(args["label"]),
            inbound_policy="DROP",
            outbound_policy="ACCEPT",
            inbounds=[
                linode.FirewallInboundArgs(
                    label=label,
                    action="ACCEPT",
                    protocol="TCP",
                    ports=port,
                    ipv4s=[cidr for cidr in cidrs if ":" not in cidr] or None,
                    ipv6s=[cidr for cidr in cidrs if ":" in cidr] or None,
                )
                for label, port, cidrs in rules
            ],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        instance = linode.Instance(
            f"{name}-instance",
            label=args["label"],
            region=args["region"],
            type=args["type"],
            image=args["image"],
            authorized_keys=[args["public_key"]],
            authorized_users=list(args["authorized_users"]) or None,
            firewall_id=firewall.id.apply(int),  # the VM is never open
            # Of those the account may choose for itself, Linode Interfaces refuse that firewall.
            interface_generation="legacy_config",
            booted=True,
            backups_enabled=False,
            private_ip=False,
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,
                protect=args["protect"],
                ignore_changes=ONLY_AT_CREATION,
            ),
        )

        def attach(known: Sequence[Any]) -> None:
            """Put a VM that is there behind a firewall that is not the one that it was made behind, which is gone."""
            vm, before, now = known
            if not isinstance(vm, Unknown) and str(before) != now:
                linode.FirewallDevice(
                    f"{name}-firewall-device",
                    firewall_id=firewall.id.apply(int),
                    entity_id=instance.id.apply(int),
                    opts=pulumi.ResourceOptions(parent=self, deleted_with=instance),
                )

        # The API refuses a device of the firewall that it was made behind: there is one only where it is needed.
        pulumi.Output.all(instance.id, instance.firewall_id, firewall.id).apply(attach, run_with_unknowns=True)
        self.address = instance.ipv4s.apply(public_address)
        host_key = HostKey(
            f"{name}-key",
            machine=instance.id,
            host=self.address,
            opts=pulumi.ResourceOptions(parent=self, deleted_with=instance),
        )
        self.machine = host_key
        self.connection = Connection(
            host=self.address,
            private_key=args["private_key"],
            host_key=host_key.key,
            machine=instance.id,
            owned=True,
        )
        self.fingerprint = fingerprint(self.connection.identity, args["type"])
        self.ssh = pulumi.Output.format("ssh root@{0}", self.address)
        self.api_listen = "0.0.0.0"  # noqa: S104  behind the firewall
        self.register_outputs({"address": self.address})
