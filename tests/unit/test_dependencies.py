"""What is installed is what was meant, on every machine, and somebody is told when there is a newer one."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[\w+\])?==([^\s;]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Package to version."""
    return {re.sub(r"[_.]", "-", its.lower()): version for its, version in PIN.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_the_list_with_hashes_is_made_from_what_is_named(name: str) -> None:
    """Otherwise: make lock."""
    assert pins(f"{name}.in").items() <= pins(f"{name}.txt").items()


def test_a_user_has_what_the_tests_had() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_nothing_is_installed_without_a_hash(name: str) -> None:
    listed = re.split(r"\n(?=\S)", (ROOT / name).read_text())
    assert [its for its in listed if not its.startswith("#") and "--hash=sha256:" not in its] == []


def test_renovate_finds_the_engine() -> None:
    (manager,) = json.loads((ROOT / ".github/renovate.json").read_text())["customManagers"]
    (file,) = manager["managerFilePatterns"]
    found = [path for path in (ROOT / "scripts").iterdir() if re.search(file.strip("/"), f"scripts/{path.name}")]
    assert [path.name for path in found] == ["setup-pulumi"]
    (pattern,) = manager["matchStrings"]
    (version,) = re.findall(pattern.replace("?<", "?P<"), found[0].read_text())
    assert version == pins("requirements.txt")["pulumi"], "the engine's release and the SDK move together"
