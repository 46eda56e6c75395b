"""What is there already is looked at by kind and name: scripts of one name end each other (alone.sh)."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from components import ownership
from components.node import ControlPlane


def test_objects_of_one_name_are_looked_at_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    async def ran(name: str, *_: object) -> None:
        names.append(name)

    monkeypatch.setattr("components.remote.run_now", ran)
    monkeypatch.setattr("pulumi.ResourceHook", lambda _, callback: SimpleNamespace(callback=callback))
    server = cast(ControlPlane, SimpleNamespace(connection=None, machine=None, identity="its"))
    hooks = ownership.only_ours("cilium", server).hooks
    callback = cast(Any, hooks).before_create[0].callback
    for kind in ("CiliumBGPPeerConfig", "CiliumBGPAdvertisement"):
        made = {"apiVersion": "cilium.io/v2alpha1", "kind": kind, "metadata": {"name": "cilium-bgp"}}
        asyncio.run(callback(SimpleNamespace(new_inputs=made)))
    assert len(set(names)) == len(names) == 2
