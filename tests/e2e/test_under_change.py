"""What people do to a stack that runs: nodes and the host made anew, another address, another key, one node only.

On a stack of its own, in a quarter of an hour. How long requests fail meanwhile is printed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator

import pytest

from lab import machine, stack, store
from tests.e2e.stack import ADDRESSES, HOST, NODES, Gaps, Stack, check_all, on_node, set_value, unchanged, until, up

pytestmark = pytest.mark.e2e

SNAPSHOTS = "/var/backups/cilium-bgp"


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    if os.environ.get("KEEP") != "1":
        assert stack.main("destroy") == 0
    stack.prepare("control-plane", host="prepared")
    configure()
    up()


@pytest.fixture(autouse=True)
def told(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """How long the test took, and how long requests failed."""
    started = time.monotonic()
    with Gaps(Stack().fcdemo) as gaps:
        yield
    with capsys.disabled():
        print(f"{time.monotonic() - started:.0f} s, longest time without an answer: {gaps.longest:.1f} s", end=" ")


def configure(nodes: Collection[str] = tuple(NODES), **snapshots: str) -> None:
    """As the lab's stack is, with snapshots on the host. From the beginning: an LXD in a container brings no folder to
    an instance that runs; tests/lxd has one that does."""
    stack.configure("control-plane", nodes)
    set_value("k3s", "snapshots", value={"folder": SNAPSHOTS, **snapshots})


def born(node: str) -> str:
    """What tells an instance from another one of its name."""
    return HOST.run("lxc", "config", "get", node, "volatile.uuid").strip()


def all_well(nodes: Collection[str] = NODES) -> None:
    check_all(Stack(), nodes=nodes)


def test_an_agent_is_made_anew_of_another_image_though_the_run_is_cancelled() -> None:
    before = {node: born(node) for node in NODES}
    set_value("lxd", "image", value="ubuntu:24.04")
    set_value("nodes", "k3s3", "generation", value=2)
    running = subprocess.Popen(
        stack.operation("up", "--yes", "--skip-preview"),
        cwd=store.REPOSITORY,
        env=stack.environment(),
        start_new_session=True,
    )
    try:
        until(240, "k3s being installed on the new node", lambda: born("k3s3") != before["k3s3"] and k3s_comes("k3s3"))
        os.killpg(running.pid, signal.SIGKILL)
    finally:
        running.wait(60)
    stack.pulumi("cancel", "--yes", stack.STACK)
    up()
    all_well()
    after = {node: born(node) for node in NODES}
    assert [node for node in NODES if after[node] != before[node]] == ["k3s3"]
    releases = {node: HOST.run("lxc", "config", "get", node, "image.release").strip() for node in NODES}
    assert releases == {"k3s1": "jammy", "k3s2": "jammy", "k3s3": "noble"}


def k3s_comes(node: str) -> bool:
    on_node(node, "test", "-e", "/etc/rancher/k3s/config.yaml")
    return True


def test_a_node_moves_and_the_key_is_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/keys.md says; the node moves there with the first run and back with the second."""
    new = stack.RUN / "next_key"
    store.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", new])
    public, old = new.with_suffix(".pub").read_text().strip(), stack.KEY.with_suffix(".pub").read_text().split()[1]
    set_value("authorizedKeys", value=[public])
    set_value("nodes", "k3s3", "address", value="10.26.23.23")
    up()
    with monkeypatch.context() as moved:
        moved.setitem(NODES, "k3s3", "10.26.23.23")
        moved.setitem(ADDRESSES, "k3s3", "10.26.23.23")
        all_well()
    for name in ("", ".pub"):
        (stack.RUN / f"next_key{name}").replace(stack.KEY.with_name(stack.KEY.name + name))
    configure()
    set_value("nodes", "k3s3", "generation", value=2)
    up()
    all_well()
    keys = {node: on_node(node, "cat", "/home/ubuntu/.ssh/authorized_keys") for node in NODES}
    assert not [node for node, its in keys.items() if old in its or public.split()[1] not in its]
    # What let the stack in at first is the user's own line.
    assert {old, public.split()[1]} <= set(HOST.run("cat", "/root/.ssh/authorized_keys").split())
    unchanged()


def test_the_only_server_is_made_anew() -> None:
    """With it the cluster, and all that the stack has put on it."""
    before = {node: born(node) for node in NODES}
    set_value("nodes", "k3s1", "generation", value=2)
    up()
    all_well()
    after = {node: born(node) for node in NODES}
    assert [node for node in NODES if after[node] != before[node]] == ["k3s1"]
    unchanged()


def test_a_new_host_begins_with_a_snapshot() -> None:
    within, there = ["--project", machine.PROJECT], f"{HOST.name}{SNAPSHOTS}/"
    marker = ["k3s", "kubectl", "get", "configmap", "marker", "-o", "jsonpath={.data.made}"]
    on_node("k3s1", "k3s", "kubectl", "create", "configmap", "marker", "--from-literal=made=before")
    take = [sys.executable, "-m", "scripts.snapshot", stack.STACK]
    snapshot = store.run(take, store.REPOSITORY, stack.environment()).strip()
    store.run(["lxc", "file", "pull", *within, f"{there}{snapshot}", stack.RUN])
    machine.remove(HOST.name)
    stack.prepare("control-plane", host="prepared")
    store.run(["lxc", "file", "push", "--create-dirs", *within, stack.RUN / snapshot, there])
    configure(restore=snapshot)
    up()
    all_well()
    assert on_node("k3s1", *marker) == "before"
    unchanged()


def test_the_host_is_installed_anew_and_has_one_node() -> None:
    key = HOST.host_key()
    machine.remove(HOST.name)
    stack.prepare("control-plane", ["k3s1"], host="prepared")
    configure(["k3s1"])
    assert HOST.host_key() != key
    up()
    all_well(["k3s1"])
    unchanged()


def test_more_nodes_come() -> None:
    configure()
    up()
    all_well()
    unchanged()
