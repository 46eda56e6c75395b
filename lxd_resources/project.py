"""LXD projects."""

from collections.abc import Mapping

import pulumi

from .client import Lxd
from .endpoint import Endpoint
from .entity import Adopt, Entity, Provider
from .inputs import Props


class ProjectProvider(Provider):
    kind = "project"
    collection = "projects"
    outlived = True
    nobodys = ("/profiles/default?",)
    server_set = ("features.",)
    in_project = False

    def unequal(self, props: Props, content: Props) -> list[str]:
        """Its features cannot change while there is anything in it."""
        return []

    def wanted(self, props: Props, content: Props, olds: Props | None = None) -> Props:
        result = super().wanted(props, content, olds)
        if props.get("former"):
            features = {key: value for key, value in content["config"].items() if key.startswith(self.server_set)}
            result["config"] |= features
        return result

    def before_delete(self, lxd: Lxd, props: Props, live: Props) -> None:
        """LXD deletes no project that holds images; those it downloaded for instances are nobody's."""
        users = [user.partition("?")[0].removeprefix("/1.0/").split("/") for user in live["used_by"]]
        if images := [user for user in users if user[0] == "images"]:
            with Lxd(props["lxd"], props["name"], self.seconds) as inside:
                for image in images:
                    if (inside.get(*image)[0] or {}).get("cached"):
                        inside.send("delete", *image)


class Project(Entity, module="lxd", name="Project"):
    """An LXD project. Features that are not given stay as LXD sets them; those of one that is adopted stay as well."""

    name: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        name: pulumi.Input[str],
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        adopt: pulumi.Input[Adopt] = "never",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`adopt`: see `Entity`. The project in `lxd` plays no part."""
        props = {"name": name, "config": config or {}, "adopt": adopt}
        super().__init__(ProjectProvider(), resource_name, lxd, props, opts)
