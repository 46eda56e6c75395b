"""status and doctor on a stack that is up: each fault that can be injected is named in its layer, with what to do.

The tests are one story on one stack and run in order.
"""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from scripts import doctor
from scripts.demo import STACK
from scripts.preview import ROOT
from simulator import memory
from simulator.host import new_key
from status.__main__ import main
from status.stack import Stack, read
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

LAYERS = ["host", "LXD", "k3s", "Cilium", "BGP", "routes", "Services"]
Wrong = Callable[[World], AbstractContextManager[None]]


def looked(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main([STACK, "--json"])
    said = capsys.readouterr()
    found: dict[str, Any] = json.loads(said.out)
    return code, found


def test_a_stack_that_is_not_there_cannot_be_looked_at(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nobody"]) == 2
    assert "no stack named 'nobody' found" in capsys.readouterr().err


def test_a_first_up_that_failed_is_looked_at(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    with stack.fault(hang=["k3s2/unit"]):
        stack.fails("k3s-agent on k3s2 active: not within")
        code, found = looked(capsys)
    assert code == 1
    layer = found["layers"][2]
    assert (layer["name"], layer["state"]) == ("k3s", "broken")
    fixes = {finding["what"]: finding["fix"] for finding in layer["findings"]}
    assert "run `pulumi up --stack dev` again" in fixes["k3s2: its k3s-agent is failed"]


def test_a_stack_that_was_proven_is_well(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    stack.up()
    assert main([STACK]) == 0
    said = capsys.readouterr().out
    assert said.startswith("dev is well\n")
    assert "k3s1 runs v1.25.6+k3s1 (no fixes since 2023-10-28)" in said
    assert "10.26.23.35 (default/fcdemo-service) by k3s1, k3s2, k3s3" in said
    assert "default/fcdemo-service answers at 10.26.23.35" in said
    _, found = looked(capsys)
    assert [(layer["name"], layer["state"]) for layer in found["layers"]] == [(name, "well") for name in LAYERS]


@pytest.fixture(scope="module")
def state(stack: World) -> Stack:
    return read(STACK)


@pytest.fixture
def known(state: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's state stays what it is whatever becomes of host and cluster: the engine, slow, tells it once."""
    monkeypatch.setattr("status.__main__.read", lambda _: state)


def faults(**kinds: Any) -> Wrong:
    return lambda stack: stack.fault(**kinds)


def kubernetes(change: Callable[[dict[str, Any]], object]) -> Wrong:
    """Somebody has done something to the cluster."""

    @contextmanager
    def changed(_stack: World) -> Iterator[None]:
        with memory.opened("kubernetes") as state:
            before = json.loads(json.dumps(state))
            change(state)
        yield
        with memory.opened("kubernetes") as state:
            state.clear()
            state.update(before)

    return changed


@contextmanager
def another_host_key(_stack: World) -> Iterator[None]:
    with memory.opened("host") as state:
        known, state["host_key"] = state["host_key"], new_key()
    yield
    with memory.opened("host") as state:
        state["host_key"] = known


@contextmanager
def another_key(_stack: World) -> Iterator[None]:
    with memory.opened("host") as state:
        known, state["authorized_keys"] = state["authorized_keys"], []
    yield
    with memory.opened("host") as state:
        state["authorized_keys"] = known


@contextmanager
def silent(_stack: World) -> Iterator[None]:
    file = memory.file_of("faults").with_name("silence")
    file.touch()
    yield
    file.unlink()


@contextmanager
def stopped(stack: World) -> Iterator[None]:
    stack.host.lxd.entities["instances", "default", "k3s2"]["status"] = "Stopped"
    yield
    stack.host.lxd.entities["instances", "default", "k3s2"]["status"] = "Running"


@contextmanager
def deleted(stack: World) -> Iterator[None]:
    its = stack.host.lxd.entities.pop(("instances", "default", "k3s3"))
    yield
    stack.host.lxd.entities["instances", "default", "k3s3"] = its


@contextmanager
def another_router(_stack: World) -> Iterator[None]:
    with memory.opened("host") as state:
        ours, state["frr"] = state["frr"], state["frr"].replace("remote-as 64512", "remote-as 64999")
    yield
    with memory.opened("host") as state:
        state["frr"] = ours


FCDEMO = "Service/default/fcdemo-service"


def several(state: dict[str, Any]) -> None:
    ingress = state["objects"][FCDEMO]["status"]["loadBalancer"]["ingress"]
    ingress.append({"ip": "10.26.23.60"})


ON_NODE = r"lxc exec --project default {} -- "
KUBECTL = ON_NODE.format("k3s1") + "k3s kubectl "
NAMED = [
    pytest.param(faults(fail={"ssh": "refused"}), "host", "gave no SSH connection", "is it on", id="ssh refused"),
    pytest.param(silent, "host", "gave no SSH connection", "pulumi up --refresh --stack dev", id="ssh silent"),
    pytest.param(another_host_key, "host", "another host key", r"--replace '\*\*::host-key'", id="host key changed"),
    pytest.param(another_key, "host", "does not take the stack's key", "authorized_keys of root", id="key unknown"),
    pytest.param(
        faults(fail={"status.py": "sudo: a password is required"}), "host", "no sudo", "sudoers.d", id="no sudo"
    ),
    pytest.param(
        faults(fail={"status.py": "sh: 1: python3: not found"}), "host", "no python3", "apt-get install", id="no python"
    ),
    pytest.param(faults(hang=["status.py"]), "host", "look at the host failed", "disk", id="host hangs"),
    pytest.param(
        faults(fail={"lxd": "connection refused"}), "LXD", "LXD on the host", "systemctl restart lxd", id="lxd is down"
    ),
    pytest.param(stopped, "LXD", "k3s2: its instance is Stopped", "lxc start --project default k3s2", id="stopped"),
    pytest.param(deleted, "LXD", "k3s3: there is no instance", "pulumi up --refresh --stack dev", id="deleted"),
    pytest.param(
        faults(hang=["k3s1/unit"]),
        "k3s",
        "k3s1: its k3s is failed",
        ON_NODE.format("k3s1") + "systemctl restart k3s",
        id="server",
    ),
    pytest.param(
        faults(hang=["k3s2/unit"]),
        "k3s",
        "k3s2: its k3s-agent is failed",
        ON_NODE.format("k3s2") + "systemctl restart k3s-agent",
        id="agent",
    ),
    pytest.param(
        faults(hang=["k3s2/join"]),
        "k3s",
        "k3s2: the cluster does not know it",
        ON_NODE.format("k3s2") + "systemctl restart k3s-agent",
        id="node unknown",
    ),
    pytest.param(
        faults(fail={"endpoint": "refused"}),
        "k3s",
        "cilium-bgp-dev-api",
        "systemctl restart cilium-bgp-dev-api",
        id="endpoint",
    ),
    pytest.param(
        kubernetes(lambda state: state["releases"].clear()),
        "Cilium",
        "has no Cilium",
        "pulumi up --refresh",
        id="release gone",
    ),
    pytest.param(
        faults(hang=["k3s3/agent"]),
        "Cilium",
        "k3s3: its agent of Cilium's, cilium-k3s3, is not ready: CrashLoopBackOff",
        KUBECTL + "-n kube-system delete pod cilium-k3s3",
        id="agent of Cilium's",
    ),
    pytest.param(
        faults(hang=["deployment/cilium-operator"]), "Cilium", "operator", KUBECTL + ".*rollout restart", id="operator"
    ),
    pytest.param(
        faults(fail={"frr": "bgpd is not running"}),
        "BGP",
        "bgpd is not running",
        "systemctl restart frr",
        id="bgpd stopped",
    ),
    pytest.param(
        faults(hang=["k3s2/session"]), "BGP", r"k3s2 \(10.26.23.12\).*Active", "delete pod cilium-k3s2", id="session"
    ),
    pytest.param(another_router, "BGP", r"k3s1 .*Active", r"--replace '\*\*::router-frr'", id="router changed"),
    pytest.param(
        kubernetes(lambda state: state["objects"]["Deployment/default/fcdemo3"].pop("status")),
        "routes",
        "none of its pods is ready",
        "-n default get pods,events",
        id="no ready pod",
    ),
    pytest.param(
        kubernetes(lambda state: state["objects"].pop(FCDEMO)),
        "Services",
        "there is no such Service",
        "pulumi up --refresh",
        id="service gone",
    ),
    pytest.param(kubernetes(several), "Services", "only a Service with one address", "servicelb", id="two addresses"),
]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("wrong", "layer", "what", "fix"), NAMED)
def test_what_is_wrong_is_named_with_what_to_do(
    stack: World, capsys: pytest.CaptureFixture[str], wrong: Wrong, layer: str, what: str, fix: str
) -> None:
    with wrong(stack):
        code, found = looked(capsys)
    assert code == 1
    at = LAYERS.index(layer)
    states = ["well"] * at + ["broken"] + ["not looked at"] * (len(LAYERS) - at - 1)
    assert {its["name"]: its["state"] for its in found["layers"]} == dict(zip(LAYERS, states, strict=True))
    assert re.search(what, found["layers"][at]["findings"][0]["what"]), found["layers"][at]
    assert re.search(fix, found["layers"][at]["findings"][0]["fix"]), found["layers"][at]


@pytest.mark.usefixtures("known")
def test_a_service_without_an_address(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    with kubernetes(lambda state: state["objects"][FCDEMO].pop("status"))(stack), stack.fault(hang=[FCDEMO]):
        _, found = looked(capsys)
    (finding,) = found["layers"][-1]["findings"]
    assert finding["what"] == "default/fcdemo-service: it has no address"
    assert "is bgp.pool full?" in finding["fix"]


@pytest.mark.usefixtures("known")
def test_somebody_elses_service_is_told_and_not_demanded(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    def add(state: dict[str, Any]) -> None:
        theirs = json.loads(json.dumps(state["objects"][FCDEMO]))
        theirs["metadata"]["name"], theirs["spec"]["selector"] = "theirs", {"app": "nothing"}
        theirs["status"]["loadBalancer"]["ingress"] = [{"ip": "10.26.23.40"}]
        state["objects"]["Service/default/theirs"] = theirs

    with kubernetes(add)(stack):
        code, found = looked(capsys)
    assert code == 0
    assert "10.26.23.40 (default/theirs), not of this stack, has no route" in found["layers"][5]["seen"]


def test_doctor_says_it_for_people(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(STACK) == 0
    assert "dev is well\n" in capsys.readouterr().out
    with stack.fault(fail={"frr": "bgpd is not running"}):
        assert doctor.main(STACK) == 1
    said = capsys.readouterr().out
    assert "dev is not well: BGP\n" in said
    assert "start it: `ssh root@203.0.113.10 systemctl restart frr`" in said


def test_a_router_that_somebody_has_changed_is_put_back_as_it_says(
    stack: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with memory.opened("host") as state:
        state["frr"] = state["frr"].replace("remote-as 64512", "remote-as 64999")
    _, found = looked(capsys)
    (back,) = set(re.findall("`pulumi (.*?) --stack dev`", json.dumps(found["layers"][4])))
    done = stack.pulumi(*shlex.split(back), "--yes", "--skip-preview")
    assert done.code == 0, done.output
    assert main([STACK]) == 0
    stack.unchanged()


def test_on_a_terminal_it_is_told_in_colours(stack: World) -> None:
    with stack.fault(fail={"frr": "bgpd is not running"}):
        command = [sys.executable, "-m", "status", STACK]
        ours, theirs = pty.openpty()
        done = subprocess.run(command, cwd=ROOT, stdout=theirs, env=os.environ | {"TERM": "xterm"}, check=False)
        os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 1
    assert "\x1b[1;31mdev is not well: BGP\x1b[0m" in said
    assert "\x1b[31mthe router on the host (FRR)" in said


def test_it_is_well_again_and_no_secret_was_told(stack: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([STACK]) == 0
    assert stack.leaked() == []
