"""The stack on a machine that one has: it comes up, stays, and leaves the machine as it was."""

import pytest

from simulator import memory
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def test_existing_host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("local")
    with World(folder, monkeypatch, "Pulumi.local.yaml") as stack:
        with memory.opened("host") as state:
            before = dict(state)
        stack.up()
        assert stack.outputs()["host_address"] == "127.0.0.1"
        stack.unchanged()
        assert stack.leaked() == []
        stack.destroyed()
        assert set(stack.host.lxd.entities) == {("projects", "", "default"), ("profiles", "default", "default")}
        with memory.opened("host") as state:
            left = {name: value for name, value in state.items() if name not in before and value}
        assert left == {"lxd": True}  # LXD itself stays installed
        assert stack.leaked() == []
