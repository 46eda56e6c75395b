"""An `up` that is killed at any moment: the next one ends proven, and the one after it changes nothing. But for one
that is killed while Linode makes a VM or a firewall: what to do then is told by the next.

`make chaos` makes KILLS of them (200 unless the environment says another number), at moments that follow from SEED. A
chain is a stack whose life goes on after each.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator import linode, memory
from tests.engine.world import World, kill, needs_pulumi

pytestmark = [pytest.mark.engine, pytest.mark.chaos, needs_pulumi]

CHAINS = 4
KILLS, SEED = int(os.environ.get("KILLS", "200")), os.environ.get("SEED", "1")


def setting(root: str, key: str, *values: Any) -> Callable[[World, random.Random], None]:
    """Another one of the values."""

    def change(stack: World, chance: random.Random) -> None:
        its = stack.setting(root)
        its[key] = chance.choice([value for value in values if value != its.get(key)])

    return change


def a_node_comes_or_goes(stack: World, _: random.Random) -> None:
    nodes = stack.setting("nodes")
    if not nodes.pop("k3s4", None):
        nodes["k3s4"] = {"role": "agent", "address": "10.26.23.14"}


def a_node_is_made_anew(stack: World, chance: random.Random) -> None:
    its = stack.setting("nodes")[chance.choice(["k3s2", "k3s3"])]
    its["generation"] = its.get("generation", 1) + 1


def a_node_moves(stack: World, chance: random.Random) -> None:
    setting("nodes", "k3s3", *({"role": "agent", "address": f"10.26.23.{n}"} for n in (13, 23)))(stack, chance)


def from_nothing(stack: World, _: random.Random) -> None:
    stack.destroyed()


CHANGES = [
    from_nothing,
    from_nothing,
    from_nothing,
    setting("fcdemo", "replicas", 1, 2, 3),
    setting("bgp", "pool", "10.26.23.32/27", "10.26.23.64/27"),
    setting("bgp", "localAsn", 64512, 64513),
    setting("hubble", "ui", True, False),
    setting("host", "image", "linode/ubuntu22.04", "linode/debian12", "linode/ubuntu24.04"),
    setting("lxd", "image", "ubuntu:22.04", "ubuntu:24.04"),
    a_node_comes_or_goes,
    a_node_is_made_anew,
    a_node_moves,
]


def delete_what_no_state_knows(stack: World) -> None:
    """As the `up` after the kill has told: Linode was making it just then."""
    known = {resource.get("id") for resource in stack.state()}
    with memory.opened("linode") as state:
        for id_ in [id_ for id_, its in state["made"].items() if its["type"] != linode.DEVICE and id_ not in known]:
            linode.forget(state["made"], id_)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_whatever_was_killed_the_next_up_converges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: int) -> None:
    chance = random.Random(f"{SEED} {chain}")
    with World(tmp_path, monkeypatch) as stack:
        stack.up()
        for its in range(KILLS // CHAINS):
            change = chance.choice(CHANGES)
            change(stack, chance)
            event = chance.randrange(1, stack.events())
            where = f"SEED={SEED} chain {chain}, kill {its}: {change.__qualname__.split('.')[0]}, event {event}"
            stack.pulumi("up", "--yes", "--skip-preview", at=event, do=kill)
            stack.pulumi("cancel", "--yes")
            done = stack.pulumi("up", "--yes", "--skip-preview")
            if "delete it (linode-cli" in done.output:
                delete_what_no_state_knows(stack)
                done = stack.pulumi("up", "--yes", "--skip-preview")
            assert done.code == 0, f"{where}\n{done.output}"
            assert stack.established(), where
            assert stack.holds(), where
            assert stack.pulumi("preview", "--expect-no-changes").operations == {}, where
            assert stack.leaked() == [], where
