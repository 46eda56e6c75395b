"""Which start of a machine was seen last. The import path of the provider is part of the state: it stays."""

import asyncio
from typing import Any

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from lxd_resources.endpoint import newest, take
from lxd_resources.errors import LxdError

Props = dict[str, Any]
SECONDS = 60


class BootProvider(dynamic.ResourceProvider):
    """Looks once, again on another machine or by another way, and at each refresh. A preview reaches nothing."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        take(_news["machine"], _olds["machine"])
        # An identity that a preview does not know yet is another machine's.
        known = {key: _news[key] for key in ("machine", "command") if not isinstance(_news[key], Unknown)}
        asked = {**known, "identity": _news["identity"]}
        return dynamic.DiffResult(changes=any(_olds.get(key) != value for key, value in asked.items()))

    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult("boot", {**props, "started": look(props)})

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        try:
            return dynamic.ReadResult(id_, {**props, "started": look(props)})
        except LxdError:  # whether the machine is there, its own refresh tells
            return dynamic.ReadResult(id_, props)

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult({**_news, "started": look(_news)})


def look(props: Props) -> str:
    """What the machine says now. Errors: LxdError."""
    import asyncssh  # noqa: PLC0415  a preview reaches nothing

    from lxd_resources.transport import dial, explained  # noqa: PLC0415

    way = newest(props["machine"])

    async def ask() -> str:
        async with dial(way) as ssh:
            done = await ssh.run(props["command"], input="", timeout=SECONDS, check=True)
            return str(done.stdout).strip()

    try:
        return asyncio.run(ask())
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        raise explained(error, way) from None


class Boot(dynamic.Resource, module="cilium-bgp", name="Boot"):
    """A machine's start, as far as a refresh has seen it."""

    started: pulumi.Output[str]
    """Another one after each start."""

    def __init__(
        self,
        name: str,
        *,
        machine: pulumi.Input[Props],
        identity: pulumi.Input[str],
        command: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """`machine`: an `lxd_resources.Endpoint` without LXD; `identity`: what it is known by; `command` prints the
        start."""
        props = {
            "machine": pulumi.Output.secret(machine),
            "identity": identity,
            "command": command,
            "started": None,
        }
        own = pulumi.ResourceOptions(additional_secret_outputs=["machine"])
        super().__init__(BootProvider(), name, props, pulumi.ResourceOptions.merge(own, opts))
