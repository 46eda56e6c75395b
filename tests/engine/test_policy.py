"""The rules of `policy/` in the engine: an `up` keeps them, and what breaks one is refused before anything changes."""

import os
from pathlib import Path

import pytest

from scripts.demo import DIAL
from scripts.preview import POLICY, ROOT
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def test_an_up_keeps_the_rules_and_a_preview_refuses_what_breaks_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path, monkeypatch) as stack:
        monkeypatch.setenv("PYTHONPATH", str(DIAL))  # here the engine's Python processes are no forks
        monkeypatch.setenv("PATH", os.pathsep.join([str(ROOT / "policy"), os.environ["PATH"]]))
        done = stack.up(*POLICY)
        assert "cilium-bgp@v0.1.0 (local: policy)" in done.output
        assert "can't run policy" not in done.output
        stack.setting("host")["type"] = "g6-standard-16"
        dear = stack.pulumi("preview", *POLICY)
        assert dear.code != 0
        assert "host-instance (g6-standard-16) would cost 384 dollars a month" in dear.output
