"""Ten nodes on one host, of which seven come at once. On a stack of its own; not part of `.ci/run`."""

import os
import re
import time
from pathlib import Path

import pytest

from lab import stack
from tests.e2e.stack import HOST, NODES, TEN, Stack, check_all, unchanged, until, up

INSTANCES = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
pytestmark = [
    pytest.mark.e2e,
    # The limit of the lab's host counts within this machine's, which the lab leaves alone.
    pytest.mark.skipif(INSTANCES < 1024, reason=f"fs.inotify.max_user_instances is {INSTANCES} here, enough for five"),
]


def used() -> int:
    """Memory of the processes on the host and its nodes, in MiB; what the kernel keeps of files is not in it."""
    (rss,) = re.findall(r"^total_rss (\d+)$", HOST.run("cat", "/sys/fs/cgroup/memory/memory.stat"), re.MULTILINE)
    return int(rss) >> 20


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
