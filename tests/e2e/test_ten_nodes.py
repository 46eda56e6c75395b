"""Ten nodes on one host, of which seven come at once. On a stack of its own; not part of `.ci/run`."""

import os
import time

import pytest

from lab import stack
from tests.e2e.stack import HOST, NODES, TEN, Stack, check_all, unchanged, until, up

pytestmark = pytest.mark.e2e


def used() -> int:
    """Memory of the host and all that is in it, in MiB."""
    return int(HOST.run("cat", "/sys/fs/cgroup/memory/memory.usage_in_bytes")) >> 20


def whole() -> bool:
    check_all(Stack(), nodes=TEN)
    return True


def test_seven_more_come(capsys: pytest.CaptureFixture[str]) -> None:
    if os.environ.get("KEEP") != "1":
        assert stack.main("destroy") == 0
    stack.prepare("control-plane", host="prepared")
    up()
    before, started = used(), time.monotonic()
    stack.configure("control-plane", tuple(TEN))
    up()
    took = time.monotonic() - started
    until(120, "all ten", whole)
    with capsys.disabled():
        more = len(TEN) - len(NODES)
        print(f"{more} nodes more in {took:.0f} s, each {(used() - before) / more:.0f} MiB", end=" ")


def test_a_second_run_changes_nothing() -> None:
    unchanged()
