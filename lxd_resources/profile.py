"""LXD profiles."""

from collections.abc import Iterator, Mapping

import pulumi

from .endpoint import Endpoint
from .entity import Adopt, Entity, Provider
from .inputs import (
    CLOUD_INIT,
    Devices,
    Problem,
    Props,
    changed_in,
    device_problems,
    in_pool,
    root_pool,
    user_data_problems,
    with_former,
)


class ProfileProvider(Provider):
    kind = "profile"
    collection = "profiles"
    outlived = True
    fields = ("config", "devices")

    def problems(self, news: Props) -> Iterator[Problem]:
        yield from device_problems(news["devices"])
        yield from user_data_problems(news["config"])

    def replaced(self, olds: Props, news: Props) -> Iterator[str]:
        if changed_in(olds, news, "lxd", "project"):
            yield "lxd"

    def kept(self, olds: Props, news: Props) -> Props:
        kept = {**news, "config": with_former(news["config"], olds["config"], CLOUD_INIT)}
        return kept | {"devices": in_pool(news["devices"], root_pool(olds["devices"]))}

    def as_born(self, props: Props, live: Props) -> Props:
        return self.kept(live, props)


class Profile(Entity, module="lxd", name="Profile"):
    """An LXD profile. `default` always exists: say adopt="update", and a delete gives it its former content back."""

    name: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        name: pulumi.Input[str],
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        devices: pulumi.Input[Devices] | None = None,
        adopt: pulumi.Input[Adopt] = "never",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`adopt`: see `Entity`."""
        props = {"name": name, "config": config or {}, "devices": devices or {}, "adopt": adopt}
        super().__init__(ProfileProvider(), resource_name, lxd, props, opts)
