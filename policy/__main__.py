"""Serves the rules to the engine, which starts this folder: `pulumi preview --policy-pack policy`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pulumi_policy import PolicyPack  # noqa: E402

from policy.rules import RULES  # noqa: E402

PolicyPack("cilium-bgp", list(RULES))
