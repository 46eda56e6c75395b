"""One server becomes three, each is lost, then two at once: the cluster stays the same, the addresses answer.

On the stack that test_restart_during_up has left: one server, two agents, control-plane mode.
"""

import json
import time
from collections.abc import Iterator

import pytest

from lab import programs, stack, store
from tests.e2e import machine
from tests.e2e.stack import (
    FCDEMO,
    FIVE,
    HOST,
    Gaps,
    Load,
    Stack,
    bgp_routes,
    check_all,
    on_node,
    set_value,
    unchanged,
    until,
    up,
)

pytestmark = pytest.mark.e2e

RESTART_SECONDS = 30
"""The program's default."""
SERVERS = ("k3s0", "k3s1", "k3s4")
"""k3s1 has started the cluster; k3s0 is the first in the configuration."""
ETCD = "https://127.0.0.1:2379/v3/cluster/member/list"
TLS = "/var/lib/rancher/k3s/server/tls"


@pytest.fixture(scope="module")
def lab() -> Stack:
    """The stack with three servers and two agents, and a marker object of before."""
    stack.prepare("control-plane", host="prepared")
    up()  # changes nothing, where that test has run
    Stack().kubectl("create", "configmap", "marker")
    stack.configure("control-plane", tuple(FIVE))
    started = time.monotonic()
    up()
    print(f"two servers more in {time.monotonic() - started:.0f} s")
    return Stack()


@pytest.fixture
def asked(lab: Stack) -> Iterator[Gaps]:
    with Gaps(lab.fcdemo) as gaps:
        yield gaps


def voters(server: str) -> set[str]:
    """Nodes whose etcd votes, as one of them knows it."""
    keys = [f"--cacert={TLS}/etcd-ca.crt", f"--cert={TLS}/etcd.crt", f"--key={TLS}/etcd.key"]
    said = on_node(server, "curl", "-fsS", *(word for key in keys for word in key.split("=")), "-d", "{}", ETCD)
    return {each["name"].rpartition("-")[0] for each in json.loads(said)["members"] if not each.get("isLearner")}


def whole(lab: Stack) -> bool:
    check_all(lab, nodes=FIVE)
    assert voters("k3s0") == set(SERVERS)
    lab.kubectl("get", "configmap", "marker")
    return True


def api_answers(lab: Stack) -> bool:
    kubectl = [str(programs.program("kubectl")), "--kubeconfig", str(lab.kubeconfig)]
    return machine.output(*kubectl, "get", "--raw", "/readyz", "--request-timeout=2s") == "ok"


def lose(*servers: str) -> None:
    HOST.run("lxc", "delete", "--force", *servers)


def repair() -> float:
    started = time.monotonic()
    up("--refresh")
    return time.monotonic() - started


def test_two_more_join_and_nothing_else_changes(lab: Stack) -> None:
    assert whole(lab)


@pytest.mark.parametrize("server", ["k3s1", "k3s0"])
def test_any_server_is_lost(lab: Stack, asked: Gaps, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    lose(server)
    again = until(10, "the API", lambda: api_answers(lab))
    with capsys.disabled():
        print(f"{server} lost: the API answers again after {again:.1f} s", end=", ")
    assert Stack().outputs["load_balancer_ips"][FCDEMO] == lab.fcdemo
    took = repair()
    until(120, "all as before", lambda: whole(lab))
    with capsys.disabled():
        print(f"repaired in {took:.0f} s, longest time without an answer {asked.longest:.1f} s", end=" ")


def test_an_agent_is_lost(lab: Stack, asked: Gaps, capsys: pytest.CaptureFixture[str]) -> None:
    lose("k3s2")
    left = set(FIVE.values()) - {FIVE["k3s2"]}
    gone = until(60, "the dead node withdrawn", lambda: bgp_routes()[lab.fcdemo] == left)
    took = repair()
    until(120, "all as before", lambda: whole(lab))
    with capsys.disabled():
        said = f"withdrawn after {gone:.1f} s, longest time without an answer {asked.longest:.1f} s"
        print(f"{said}, repaired in {took:.0f} s", end=" ")
    # The router has heard the end of its connections, as when an agent restarts: it waits for that one to come back.
    assert gone < RESTART_SECONDS + 2
    assert asked.longest < stack.HOLD_SECONDS + 2


def test_two_of_three_are_lost(lab: Stack, asked: Gaps, capsys: pytest.CaptureFixture[str]) -> None:
    lose("k3s0", "k3s1")
    time.sleep(10)
    with pytest.raises((AssertionError, store.BuildError)):
        api_answers(lab)
    on_node("k3s4", "systemctl", "stop", "k3s")
    on_node("k3s4", "k3s", "server", "--cluster-reset")
    on_node("k3s4", "systemctl", "start", "k3s")
    until(60, "the API", lambda: api_answers(lab))
    took = repair()
    until(120, "all as before", lambda: whole(lab))
    with capsys.disabled():
        print(f"repaired in {took:.0f} s, longest time without an answer {asked.longest:.1f} s", end=" ")


def test_the_host_restarts(lab: Stack, asked: Gaps, capsys: pytest.CaptureFixture[str]) -> None:
    HOST.restart()
    back = until(600, "everything back", lambda: whole(lab))
    with capsys.disabled():
        print(f"longest time without an answer {asked.longest:.1f} s, all back after {back:.0f} s", end=" ")
    unchanged()


def test_all_five_are_upgraded_and_no_request_fails(lab: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    set_value("k3s", "version", value=programs.K3S_NEXT)
    started = time.monotonic()
    with Load(lab.fcdemo) as load:
        up()
        until(120, "all as before", lambda: whole(lab))
    assert {on_node(node, "k3s", "--version").split()[2] for node in FIVE} == {programs.K3S_NEXT}
    with capsys.disabled():
        print(f"in {time.monotonic() - started:.0f} s {len(load.failed)} of {load.asked} failed", end=" ")
    assert load.failed == []
