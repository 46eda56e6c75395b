"""A machine's SSH host key, learned once and kept in the state (trust on first use, RFC 4251 section 4.1).

The import path of the provider is part of the state: it stays.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult


def learn(host: str, port: int, seconds: float) -> str:
    """The ed25519 key that the machine shows, awaited until SSH answers; raises TimeoutError."""
    import asyncssh  # noqa: PLC0415  a preview learns nothing

    async def ask() -> str:
        end, seen = time.monotonic() + seconds, "nothing"
        while time.monotonic() < end:
            try:
                key = await asyncio.wait_for(
                    asyncssh.get_server_host_key(host, port, server_host_key_algs=["ssh-ed25519"]), 15
                )
            except (OSError, asyncssh.Error, TimeoutError) as error:
                seen = str(error) or type(error).__name__
            else:
                if key is not None:
                    return " ".join(key.export_public_key().decode().split()[:2])
            await asyncio.sleep(2)
        raise TimeoutError(
            f"{host} port {port}: no SSH host key within {seconds:.0f} s, last seen: {seen}; check that the machine "
            "has booted and that its firewall lets this machine in (host.adminCidrs)"
        )

    return asyncio.run(ask())


class HostKeyProvider(ResourceProvider):
    """Asks a machine once; a new address of the same machine does not change its key.

    A refresh asks nothing: all else on the machine is looked at over a connection that accepts this key only.
    """

    serialize_as_secret_always = False

    def create(self, props: Mapping[str, Any]) -> CreateResult:
        key = learn(props["host"], int(props["port"]), props["seconds"])
        return CreateResult(f"{props['host']}:{int(props['port'])}", {**props, "key": key})

    def diff(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> DiffResult:
        changed = [key for key in ("machine", "host", "port", "seconds") if _olds.get(key) != _news.get(key)]
        return DiffResult(changes=bool(changed), replaces=[key for key in changed if key == "machine"])

    def update(self, _id: str, _olds: Mapping[str, Any], _news: Mapping[str, Any]) -> UpdateResult:
        return UpdateResult({**_news, "key": _olds["key"]})


class HostKey(Resource, module="cilium-bgp", name="HostKey"):
    """The pinned host key of one machine; learned again only for another machine."""

    key: pulumi.Output[str]
    """As in authorized_keys, without a comment: `ssh-ed25519 AAAA…`."""

    def __init__(
        self,
        name: str,
        *,
        machine: pulumi.Input[str],
        host: pulumi.Input[str],
        port: int = 22,
        seconds: int = 300,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"machine": machine, "host": host, "port": port, "seconds": seconds, "key": None}
        super().__init__(HostKeyProvider(), name, props, opts)
