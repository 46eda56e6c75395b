"""LXD networks."""

from collections.abc import Iterator, Mapping

import pulumi

from .client import Lxd
from .endpoint import Endpoint
from .entity import Adopt, Entity, Provider
from .inputs import Problem, Props, changed_in


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

    def refusals(self, olds: Props, news: Props) -> Iterator[Problem]:
        away = "put it back, or `pulumi destroy` first and `pulumi up` after"
        if isinstance(news["name"], str) and news["name"] != olds["name"]:
            yield "name", f"{olds['name']} cannot become {news['name']} under the instances that are on it; {away}"
        elif changed_in(olds, news, "config", "ipv4.address"):
            address = olds["config"].get("ipv4.address", "none")
            yield (
                "config",
                f"ipv4.address {address} of {olds['name']} cannot become {news['config'].get('ipv4.address', 'none')} "
                f"under the instances that are on it, with addresses in its subnet; {away}",
            )

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
