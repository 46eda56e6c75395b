"""LXD storage pools."""

from collections.abc import Iterator, Mapping

import pulumi

from .endpoint import Endpoint
from .entity import Adopt, Entity, Provider
from .inputs import Problem, Props, changed_in


class StoragePoolProvider(Provider):
    kind = "storage pool"
    collection = "storage-pools"
    outlived = True
    nobodys = ("/images/",)
    immutable = ("name", "driver")
    server_set = ("volatile.", "source", "size")

    def replaced(self, olds: Props, news: Props) -> Iterator[str]:
        if changed_in(olds, news, "config", "source"):
            yield "config"

    def refusals(self, olds: Props, news: Props) -> Iterator[Problem]:
        if news["name"] == olds["name"] and news["driver"] != olds["driver"]:
            yield (
                "driver",
                f"pool {olds['name']} is of driver {olds['driver']} and stays so; give a pool of driver "
                f"{news['driver']} another name (lxd.storagePool.name)",
            )


class StoragePool(Entity, module="lxd", name="StoragePool"):
    """An LXD storage pool."""

    name: pulumi.Output[str]
    driver: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        name: pulumi.Input[str],
        driver: pulumi.Input[str],
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        adopt: pulumi.Input[Adopt] = "never",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`driver`: dir, zfs, btrfs, lvm … `adopt`: see `Entity`."""
        props = {"name": name, "driver": driver, "config": config or {}, "adopt": adopt}
        super().__init__(StoragePoolProvider(), resource_name, lxd, props, opts)
