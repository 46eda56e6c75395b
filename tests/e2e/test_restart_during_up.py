"""The host restarts in the middle of an `up`: it fails, and the next one converges."""

import subprocess
import time
from typing import Any

import pytest

from lab import stack, store
from tests.e2e.stack import HOST, Stack, check_addresses, check_answers, check_nodes, unchanged

pytestmark = pytest.mark.e2e


def test_the_next_up_converges(before: dict[str, Any]) -> None:
    stack.prepare("control-plane", host="prepared")
    up = subprocess.Popen(
        stack.operation("up", "--yes", "--skip-preview"), cwd=store.REPOSITORY, env=stack.environment()
    )
    try:
        end = time.monotonic() + 180
        while "k3s1" not in nodes_there():
            assert time.monotonic() < end, "k3s1 never came"
            assert up.poll() is None, "up ended before its host was restarted"
            time.sleep(0.5)
        time.sleep(5)  # in the middle of the installation of k3s
        HOST.restart()
        HOST.await_ready()
        assert up.wait(600) != 0
    finally:
        up.kill()
    assert stack.operate("up", "--yes", "--skip-preview") == 0
    lab = Stack()
    check_nodes(lab)
    check_addresses(lab, "control-plane")
    check_answers(lab)
    unchanged()


def nodes_there() -> str:
    try:
        return HOST.run("lxc", "list", "--format", "csv", "--columns", "n")
    except store.BuildError:  # LXD is not there yet
        return ""
