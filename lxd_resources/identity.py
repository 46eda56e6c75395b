"""Which instance it is that has a name now."""

from typing import Any

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from .inputs import Props
from .instance import Instance


class IdentityProvider(dynamic.ResourceProvider):
    """Remembers what tells one instance from the next. LXD makes another MAC address with each.

    A preview knows nothing of an instance that would be updated but its ID, and not that of one that would be made.
    """

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        known = {key: value for key, value in _news.items() if not isinstance(value, Unknown)}
        another = "instance" not in known or _olds["machine"] != known.get("machine")
        if another or known.get("mac_address", _olds["mac_address"]) != _olds["mac_address"]:
            return dynamic.DiffResult(changes=True, replaces=["mac_address"])
        changed = "mac_address" in known and any(
            key in known and _olds.get(key) != known[key] for key in ("ssh_host_key", "login_user")
        )
        return dynamic.DiffResult(changes=changed, replaces=[])

    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props["mac_address"], props)

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(_news)


class Identity(dynamic.Resource, module="lxd", name="Identity"):
    """An instance's identity: another one for another instance, the same through whatever else changes about one."""

    mac_address: pulumi.Output[str]
    """What it is known by."""
    ssh_host_key: pulumi.Output[str]
    """ "ssh-ed25519 AAAA…"."""
    image: pulumi.Output[str]
    """What the instance was made of."""
    login_user: pulumi.Output[str]
    """The user of that image."""
    pool: pulumi.Output[str]
    """Storage pool that it was made in."""
    project: pulumi.Output[str]
    """LXD project that it is in."""

    def __init__(
        self,
        resource_name: str,
        instance: Instance,
        machine: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`machine`: what the machine that the instance is on is known by."""
        props: dict[str, Any] = {
            "machine": machine,
            "instance": instance.id,
            "mac_address": instance.mac_address,
            "ssh_host_key": instance.ssh_host_key,
            "image": instance.image,
            "login_user": instance.login_user,
            "pool": instance.pool,
            "project": instance.project,
        }
        own = pulumi.ResourceOptions(deleted_with=instance)
        super().__init__(IdentityProvider(), resource_name, props, pulumi.ResourceOptions.merge(own, opts))
