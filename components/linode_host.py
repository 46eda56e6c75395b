"""A Linode VM as the host."""

import hashlib
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, TypedDict

import pulumi
from pulumi.output import Unknown

from components.fingerprint import fingerprint
from components.first_seen import FirstSeen
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
    interfaces: Literal["legacy_config", "linode"]
    """Generation of the network interfaces of a VM that is made."""
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
ONLY_AT_CREATION = ["authorizedKeys", "authorizedUsers", "firewallId", "interfaceGeneration", "linodeInterfaces"]
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


def attachments(vm: str, firewall: str, found: Sequence[Any]) -> list[str]:
    """What of the VM is behind the firewall: ID of the device, kind and ID of the entity in one text each."""
    if not found:
        raise pulumi.RunError(
            f"firewall {firewall} of the Linode {vm} is gone; everybody reaches SSH and the Kubernetes API. "
            "Make another one: pulumi up --refresh"
        )
    its = re.compile(rf"/linode/instances/{vm}(/|$)")
    return [f"{one['id']} {one['type']} {one['entity_id']}" for one in found[0]["devices"] if its.search(one["url"])]


def other_interfaces(interfaces: str, errors: Sequence[str]) -> str:
    """Which key another kind of account wants, where Linode's own words speak of interfaces; else empty."""
    if not any("interface" in error.lower() for error in errors):
        return ""
    other = "linode" if interfaces == "legacy_config" else "legacy_config"
    return (
        f"host.interfaces: {interfaces}, which the account does not let new Linodes have, it seems "
        "(interfaces_for_new_linodes in: linode-cli account settings); the VM was not made. "
        f"Write host.interfaces: {other}."
    )


def unknown_namesake(kind: str, label: str, errors: Sequence[str]) -> str:
    """What to do where Linode has one of that label that no state knows; else empty. `kind`: as linode-cli says."""
    if not any("label must be unique" in error.lower() for error in errors):
        return ""
    return (
        f"host.label: Linode has {label} among its {kind} already, and this stack does not know it; no other one was "
        "made. If an `up` was cut off while Linode made it, it is that one, and empty: look (linode-cli "
        f"{kind} list --label {label}), delete it (linode-cli {kind} delete ID), and run again. "
        "If it is somebody's, write another host.label."
    )


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
        names = {"firewalls": firewall_label(args["label"]), "linodes": args["label"]}

        def advise(failed: pulumi.ErrorHookArgs) -> bool:
            """Not tried again."""
            vm = failed.name == f"{name}-instance"
            kind = "linodes" if vm else "firewalls"
            advice = unknown_namesake(kind, names[kind], failed.errors)
            if advice := advice or (other_interfaces(args["interfaces"], failed.errors) if vm else ""):
                pulumi.log.error(advice)
            return False

        refused = pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook(f"{name}-refused", advise)])
        firewall = linode.Firewall(
            f"{name}-firewall",
            label=names["firewalls"],
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
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True, hooks=refused),
        )

        guarded: dict[str, Any] = {"firewall_id": firewall.id.apply(int)}  # the VM is never open
        if args["interfaces"] == "linode":
            # Such a Linode takes a firewall at its interfaces alone, and without an interface it does not boot.
            public = {"ipv4": {"addresses": [{"address": "auto", "primary": True}]}}
            guarded = {"linode_interfaces": [{**guarded, "public": public, "default_route": {"ipv4": True}}]}
        instance = linode.Instance(
            f"{name}-instance",
            label=args["label"],
            region=args["region"],
            type=args["type"],
            image=args["image"],
            authorized_keys=[args["public_key"]],
            authorized_users=list(args["authorized_users"]) or None,
            interface_generation=args["interfaces"],
            **guarded,
            booted=True,
            backups_enabled=False,
            private_ip=False,
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,
                protect=args["protect"],
                ignore_changes=ONLY_AT_CREATION,
                hooks=refused,
            ),
        )
        # Asked in every run: neither resource's refresh sees a VM that was taken out from behind its firewall.
        found = linode.get_firewalls_output(
            filters=firewall.id.apply(lambda its: [linode.GetFirewallsFilterArgs(name="id", values=[its])]),
            opts=pulumi.InvokeOutputOptions(parent=self, depends_on=[instance]),
        )
        behind = pulumi.Output.all(instance.id, firewall.id, found.firewalls).apply(lambda its: attachments(*its))
        first = FirstSeen(
            f"{name}-firewall-first",
            machine=instance.id,
            # Behind another firewall than the one that it was made with it has been put by such a device as below.
            seen=pulumi.Output.all(instance.firewall_id, firewall.id, behind).apply(
                lambda its: its[2] if str(int(its[0] or its[1])) == its[1] else []
            ),
            opts=pulumi.ResourceOptions(parent=self, deleted_with=instance),
        )

        def attach(known: Sequence[Any]) -> None:
            """Put a VM that is there behind its firewall, where what it was made with does so no more."""
            vm, made_with, seen = known
            if isinstance(vm, Unknown):
                return
            if not isinstance(seen, Unknown) and (isinstance(made_with, Unknown) or {*made_with} & {*seen}):
                return
            its = made_with[0].split() if made_with and not isinstance(made_with, Unknown) else ["", "linode", vm]
            linode.FirewallDevice(
                f"{name}-firewall-device",
                firewall_id=firewall.id.apply(int),
                entity_id=int(its[2]),
                entity_type=None if its[1] == "linode" else its[1],
                opts=pulumi.ResourceOptions(parent=self, deleted_with=instance),
            )

        # The API refuses a device of the firewall that it was made behind: there is one only where it is needed.
        pulumi.Output.all(instance.id, first.seen, behind).apply(attach, run_with_unknowns=True)
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
