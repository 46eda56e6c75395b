"""make help: who does not know the project finds every command in it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNTOLD = {"python"}
"""A step of `setup`."""


def test_every_target_stands_in_one_group_with_a_line_of_its_own() -> None:
    said = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    groups = [group.splitlines() for group in said.rstrip().split("\n\n")]
    assert [head for head, *_ in groups] == ["To begin", "A stack", "The lab", "For developers"]
    lines = [line for _, *lines in groups for line in lines]
    assert all(re.fullmatch(r"  [a-z][a-z0-9-]* +\S.*\.", line) for line in lines)
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(line.split()[0] for line in lines) == sorted({*phony.split()} - UNTOLD)
