"""A random text that is made once and kept in the state: a password, a token, an identity.

The import path of the provider is part of the state: it stays.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class RandomHexProvider(ResourceProvider):
    """Makes it, and never another: what rests on it would have to change with it."""

    serialize_as_secret_always = False

    def create(self, props: Mapping[str, Any]) -> CreateResult:
        return CreateResult("made", {**props, "value": secrets.token_hex(int(props["bytes"]))})

    def diff(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> DiffResult:
        return DiffResult(changes=False)


class RandomHex(Resource, module="cilium-bgp", name="RandomHex"):
    """Twice as many hexadecimal digits as `bytes`. Another one by `pulumi up --replace URN`."""

    value: pulumi.Output[str]
    """A secret, unless `secret` is false."""

    def __init__(
        self, name: str, *, bytes: int = 16, secret: bool = True, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["value"] if secret else None)
        props = {"bytes": bytes, "value": None}
        super().__init__(RandomHexProvider(), name, props, pulumi.ResourceOptions.merge(opts, hidden))
