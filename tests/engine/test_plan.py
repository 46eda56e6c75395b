"""make plan on a stack that is up."""

import pytest

from scripts import changes
from scripts.demo import STACK, configured
from standin.serve import attached
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def planned(stack: World, monkeypatch: pytest.MonkeyPatch) -> int:
    for name, value in attached(stack.served).items():
        monkeypatch.setenv(name, value)
    file = configured(stack.folder, stack.config, stack.secrets, {})
    return changes.of(STACK, "--config-file", str(file))


def test_a_plan_says_what_stops_and_the_price_before_and_after(
    stack: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stack.up()
    stack.setting("host")["type"] = "g6-standard-4"
    assert planned(stack, monkeypatch) == 0
    said = capfd.readouterr().out
    assert all(canary not in said for canary in stack.canaries)
    preview, _, short = said.rpartition("\n\n")
    assert "Previewing update (dev)" in preview
    first, cost, *_ = short.splitlines()
    assert "Nodes and VMs: host-instance changed." in first
    assert "Traffic: may stop for minutes, as host-instance restarts with another plan" in first
    assert cost.startswith("Cost: 60 dollars a month before, 48 after (")
    stack.setting("host")["type"] = "g7-highmem-1"
    stack.unchanged()


def test_what_breaks_a_rule_is_refused_by_the_plan_already(
    stack: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stack.setting("host")["type"] = "g6-standard-16"
    assert planned(stack, monkeypatch) != 0
    assert "host-instance (g6-standard-16) would cost 384 dollars a month" in capfd.readouterr().out
