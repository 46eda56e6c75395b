"""LXD network forwards: ports of an address of the host, passed on to an address behind a bridge."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import pulumi
from pulumi import dynamic

from .endpoint import Endpoint
from .entity import Entity, Provider
from .inputs import Props


class Port(TypedDict):
    """Forwarded ports of one protocol."""

    protocol: pulumi.Input[str]
    """tcp or udp."""
    listen_port: pulumi.Input[int | str]
    """A port of the listen address, or LXD's lists and ranges: "80,8000-8010"."""
    target_address: pulumi.Input[str]
    """Inside the network's subnet."""
    target_port: pulumi.Input[int | str]


class ForwardProvider(Provider):
    kind = "network forward"
    identity = "listen_address"
    fields = ("config", "ports")
    immutable = ("network", "listen_address")

    def path(self, props: Props) -> tuple[str, ...]:
        return ("networks", props["network"], "forwards", props["listen_address"])

    def check(self, _olds: Props, news: Props) -> dynamic.CheckResult:
        result = super().check(_olds, news)
        result.inputs["ports"] = in_order(result.inputs["ports"])
        return result

    def content(self, live: Props) -> Props:
        ports = [{key: port.get(key, "") for key in Port.__annotations__} for port in live["ports"]]
        return {**super().content(live), "ports": in_order(ports)}


class Forward(Entity, module="lxd", name="Forward"):
    """An LXD network forward."""

    listen_address: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        network: pulumi.Input[str],
        listen_address: pulumi.Input[str],
        ports: pulumi.Input[Sequence[pulumi.Input[Port]]],
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`listen_address`: one of the host's addresses, outside the network's subnet."""
        props = {"network": network, "listen_address": listen_address, "ports": ports, "config": config or {}}
        super().__init__(ForwardProvider(), resource_name, lxd, props, opts)


def in_order(ports: object) -> object:
    """LXD keeps no order of ports. Unknown ones stay where they are."""
    if isinstance(ports, list) and all(isinstance(port, dict) for port in ports):
        return sorted(ports, key=lambda port: (str(port["protocol"]), str(port["listen_port"])))
    return ports
