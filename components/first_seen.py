"""What was seen first of a machine, kept in the state.

The import path of the provider is part of the state: it stays.
"""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class FirstSeenProvider(ResourceProvider):
    """Keeps what it was given first, until it is given something of another machine."""

    serialize_as_secret_always = False

    def create(self, props: Mapping[str, Any]) -> CreateResult:
        return CreateResult(props["machine"], dict(props))

    def diff(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> DiffResult:
        another = _olds["machine"] != _news["machine"]
        return DiffResult(changes=another, replaces=["machine"] if another else [])


class FirstSeen(Resource, module="cilium-bgp", name="FirstSeen"):
    """Of `machine`, whatever the program says later."""

    seen: pulumi.Output[Any]
    """As it was given first."""

    def __init__(
        self,
        name: str,
        *,
        machine: pulumi.Input[str],
        seen: pulumi.Input[Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(FirstSeenProvider(), name, {"machine": machine, "seen": seen}, opts)
