"""The host, behind UFW, restarts in the middle of an `up`: however that ends, the next one converges."""

import subprocess
from typing import Any

import pytest

from lab import stack, store
from tests.e2e.stack import HOST, Stack, check_all, on_node, unchanged, until, up

pytestmark = pytest.mark.e2e


def test_the_next_up_converges(before: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    stack.prepare("control-plane", host="prepared")
    HOST.run("sh", "-c", "ufw allow 22/tcp && ufw allow 6443/tcp && ufw --force enable")
    running = subprocess.Popen(
        stack.operation("up", "--yes", "--skip-preview"), cwd=store.REPOSITORY, env=stack.environment()
    )
    try:
        until(240, "k3s being installed on the first node", k3s_comes)
        assert running.poll() is None, "up ended before its host was restarted"
        HOST.restart()
        HOST.await_ready()
        code = running.wait(900)
    finally:
        running.kill()
    with capsys.disabled():
        print(f"the up that was interrupted ended with {code}", end=" ")
    # A node that is still starting closes its users' connections, and the command provider, behind a proxy, asks once.
    until(120, "k3s1 letting its user in", lambda: on_node("k3s1", "systemctl", "is-active", "systemd-user-sessions"))
    up()
    lab = Stack()
    check_all(lab)
    unchanged()


def k3s_comes() -> bool:
    on_node("k3s1", "test", "-e", "/etc/systemd/system/k3s.service")
    return True
