"""Nodes that run are changed a few at a time."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pulumi

from components import remote
from components.remote import Connection, Script
from lxd_resources.endpoint import is_elsewhere


class Turns:
    """So many nodes at a time are aside, while what runs on them is changed.

    All of a turn is part of one resource's update, since an engine that is busy with those who wait comes to no other
    resource. What has gone wrong on one node comes to no other.
    """

    def __init__(self, size: int, host: Connection) -> None:
        """`host`: where what a turn begins and ends with runs."""
        self._host = host
        self._free = asyncio.Semaphore(size)
        self._aside: set[str] = set()
        self._failed = ""

    def hooks(self, node: str, leave: Script, back: Script) -> pulumi.ResourceHookBinding:
        """For the command that changes `node`: its standard input tells whether there is something to change.

        Where another machine has taken the node's place there is nothing to leave, nor perhaps a cluster to ask.
        """

        async def before(its: pulumi.ResourceHookArgs) -> None:
            old, new = await plain(its.old_inputs), await plain(its.new_inputs)
            if old["stdin"] == new["stdin"] or is_elsewhere(old["connection"], new["connection"]):
                return
            await self._free.acquire()
            self._aside.add(node)
            try:
                if self._failed:
                    raise RuntimeError(f"{node} is left as it is, since the change of {self._failed} has failed")
                await remote.run_now(f"{node}-leaves", leave, self._host)
            except BaseException:
                self._end(node, failed=True)
                raise

        async def after(_: pulumi.ResourceHookArgs) -> None:
            if node in self._aside:
                failed = True
                try:
                    await remote.run_now(f"{node}-returns", back, self._host)
                    failed = False
                finally:
                    self._end(node, failed=failed)

        def failed(_: pulumi.ErrorHookArgs) -> bool:
            self._end(node, failed=True)
            return False

        return pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook(f"{node}-leaves", before)],
            after_update=[pulumi.ResourceHook(f"{node}-returns", after)],
            on_error=[pulumi.ErrorHook(f"{node}-stays", failed)],
        )

    def _end(self, node: str, *, failed: bool) -> None:
        if node in self._aside:
            self._aside.remove(node)
            self._failed = self._failed or (node if failed else "")
            self._free.release()


async def plain(inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a command reads and where it runs, as a hook is told (Pulumi 3.259): each secret is an Output of its own."""
    return {key: await pulumi.Output.from_input((inputs or {})[key]).future() for key in ("stdin", "connection")}
