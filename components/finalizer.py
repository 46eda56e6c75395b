"""What runs on a machine when a resource goes. As Kubernetes' finalizers it holds up the deletion until it is done.

pulumi-command deletes only over the connection in the state, and fails for ever when that machine is gone
(pulumi-command#104). The import path of the provider is part of the state: it stays.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from lxd_resources.endpoint import is_elsewhere, newest, take
from lxd_resources.entity import ADVICE, is_gone, say
from lxd_resources.errors import LxdError

Props = dict[str, Any]


class FinalizerProvider(dynamic.ResourceProvider):
    """Does nothing until it is deleted. On a machine that is another one by then there is nothing to do."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        take(_news["machine"], _olds["machine"])
        here = not is_elsewhere(_olds["machine"], _news["machine"])
        return dynamic.DiffResult(
            changes=any(_olds.get(key) != value for key, value in _news.items() if key != "__provider"),
            replaces=["subject"] if here and _olds["subject"] != _news["subject"] else [],
            delete_before_replace=True,
        )

    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props["file"], props)

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(_news)

    def delete(self, _id: str, _props: Props) -> None:
        hops = [newest(hop) for hop in (_props.get("proxy"), _props["machine"]) if hop]
        asyncio.run(finish(_props["file"], _props["command"], float(_props["seconds"]) + 15, hops))


async def finish(file: str, command: str, seconds: float, hops: Sequence[Props]) -> None:
    """Run the script unless a machine on the way is gone. Errors: LxdError."""
    import asyncssh  # noqa: PLC0415  a preview reaches nothing

    from lxd_resources.transport import dial, explained, heard  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        ssh: Any = None
        for hop in hops:
            try:
                ssh = await stack.enter_async_context(dial(hop, ssh))
            except (OSError, asyncssh.Error, asyncssh.KeyImportError) as unexplained:
                error = explained(unexplained, hop)
                if not is_gone(error, hop):
                    raise LxdError(f"{file} did not run: {error}. {ADVICE['delete']}") from None
                say(f"{error}. What was on the machine is taken for gone")
                return
        try:
            code, said = await heard(ssh, command, seconds, say)
        except (OSError, asyncssh.Error) as error:
            raise LxdError(f"{file} had not ended within {seconds:.0f} s, or was cut off ({error})") from None
        if code != 0:
            raise LxdError(f"{file} ended with {code}: {' '.join(said.split())}")


class Finalizer(dynamic.Resource, module="cilium-bgp", name="Finalizer"):
    """A script that runs when this resource goes, or comes to be about another `subject`."""

    def __init__(
        self,
        name: str,
        *,
        file: str,
        command: pulumi.Input[str],
        seconds: int,
        machine: pulumi.Input[Props],
        proxy: pulumi.Input[Props] | None,
        subject: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """`command` runs within `seconds` on the `machine`, which is reached through the `proxy`; both are
        `lxd_resources.Endpoint`s without LXD."""
        props = {
            "file": file,
            "command": command,
            "seconds": seconds,
            "machine": pulumi.Output.secret(machine),
            "proxy": None if proxy is None else pulumi.Output.secret(proxy),
            "subject": subject,
        }
        own = pulumi.ResourceOptions(additional_secret_outputs=["machine", "proxy"], delete_before_replace=True)
        super().__init__(FinalizerProvider(), name, props, pulumi.ResourceOptions.merge(own, opts))
