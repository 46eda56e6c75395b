"""LXD networks."""

from collections.abc import Iterator, Mapping

import pulumi

from .client import Lxd
from .endpoint import Endpoint
from .entity import Adopt, Entity, Provider
from .inputs import Problem, Props


class NetworkProvider(Provider):
    kind = "network"
    collection = "networks"
    immutable = ("name", "type")
    server_set = ("volatile.", "bridge.mtu", "ipv4.address", "ipv4.nat", "ipv6.address", "ipv6.nat")
    chosen_when_auto = ("ipv4.address", "ipv6.address")

    def problems(self, news: Props) -> Iterator[Problem]:
        name = news["name"]
        if isinstance(name, str) and len(name) > 15:
            yield "name", f"{name!r} has {len(name)} characters; Linux allows 15 for an interface"

    def outputs(self, lxd: Lxd, props: Props, live: Props) -> Props:
        return {"ipv4_address": live["config"].get("ipv4.address", "")}


class Network(Entity, module="lxd", name="Network"):
    """An LXD network, normally a bridge."""

    name: pulumi.Output[str]
    ipv4_address: pulumi.Output[str]
    """Its own address with prefix length, "10.26.23.1/24"; "none" or "" when it has none."""

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        name: pulumi.Input[str],
        type: pulumi.Input[str] = "bridge",
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        adopt: pulumi.Input[Adopt] = "never",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`adopt`: see `Entity`."""
        props = {"name": name, "type": type, "config": config or {}, "adopt": adopt}
        super().__init__(NetworkProvider(), resource_name, lxd, props, opts, outputs=["ipv4_address"])
