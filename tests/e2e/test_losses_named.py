"""status and doctor on the real thing: what is broken is named in its layer, and what they say to type mends it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import programs, stack
from scripts import kubeconfig
from status.__main__ import main
from tests.e2e import machine
from tests.e2e.conftest import Switched
from tests.e2e.stack import HOST, NODES, SERVICES, until

pytestmark = pytest.mark.e2e

MENDED = 240


@pytest.fixture(autouse=True)
def of_the_lab(control_plane: Switched, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)


def looked(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code = main([stack.STACK, "--json"])
    said = capsys.readouterr()
    found: dict[str, Any] = json.loads(said.out)
    assert code == int(not found["well"])
    return found


def broken(found: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """The layer, what is said of it, and the first line to type for each."""
    layer = next(its for its in found["layers"] if its["state"] == "broken")
    fixes = [re.search("`([^`]*)`", finding["fix"]) for finding in layer["findings"]]
    return layer["name"], [its["what"] for its in layer["findings"]], [fix[1] for fix in fixes if fix]


def follow(line: str) -> None:
    """Type it, where SSH to the host would have led."""
    ssh, _, command = line.partition(f"root@{HOST.address} ")
    assert ssh == "ssh "
    HOST.run("sh", "-c", command, seconds=300)


def well(capsys: pytest.CaptureFixture[str]) -> bool:
    found = looked(capsys)
    assert found["well"], found
    return True


def test_well(control_plane: Switched, capsys: pytest.CaptureFixture[str]) -> None:
    # What went before was a new `up`, or a host that restarted: Hubble's relay is ready some time after the rest.
    until(MENDED, "well", lambda: well(capsys))
    assert main([stack.STACK]) == 0
    said = capsys.readouterr().out
    assert said.startswith("lab is well\n")
    assert f"{control_plane.fcdemo} (default/fcdemo-service) by k3s1, k3s2, k3s3" in said
    assert f"default/fcdemo-service answers at {control_plane.fcdemo}" in said
    assert "k3s1 runs v1.30.2" in said
    with capsys.disabled():
        print(said)


BROKEN = [
    (["systemctl", "stop", "frr"], "BGP", "the router on the host (FRR) does not answer"),
    (["lxc", "stop", "--force", "k3s3"], "LXD", "k3s3: its instance is Stopped"),
    (["lxc", "exec", "k3s2", "--", "systemctl", "stop", "k3s-agent"], "k3s", "k3s2: its k3s-agent is inactive"),
    (["lxc", "exec", "k3s1", "--", "systemctl", "stop", "k3s"], "k3s", "k3s1: its k3s is inactive"),
    (["systemctl", "stop", "cilium-bgp-lab-api"], "k3s", "the API does not answer where the host passes it on"),
    (["systemctl", "stop", "lxd.socket", "lxd"], "LXD", "LXD on the host does not answer"),
]


@pytest.mark.parametrize(("command", "layer", "what"), BROKEN)
def test_what_is_stopped_is_named_and_mended_as_it_says(
    capsys: pytest.CaptureFixture[str], command: list[str], layer: str, what: str
) -> None:
    HOST.run(*command)
    name, said, lines = broken(looked(capsys))
    assert (name, said[0][: len(what)]) == (layer, what), said
    with capsys.disabled():
        print(said[0], lines[0])
    follow(lines[0])
    until(MENDED, "well", lambda: well(capsys))


def test_a_service_without_pods(control_plane: Switched, capsys: pytest.CaptureFixture[str]) -> None:
    kubectl = ["lxc", "exec", "k3s1", "--", "k3s", "kubectl"]
    HOST.run(*kubectl, "scale", "deployment/fcdemo3", "--replicas=0")

    def named() -> bool:
        found = looked(capsys)
        if found["well"]:  # for the seconds in which they still answer (preStop)
            return False
        _, said, _ = broken(found)
        return any("default/fcdemo-service" in what and "none of its pods is ready" in what for what in said)

    until(60, "named", named)
    HOST.run(*kubectl, "scale", "deployment/fcdemo3", "--replicas=4")
    until(MENDED, "well", lambda: well(capsys))


def test_all_nodes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    (sessions,) = (its["seen"] for its in looked(capsys)["layers"] if its["name"] == "BGP")
    assert [line.split()[0] for line in sessions] == list(NODES)


def test_kubectl_takes_the_merged_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(own))
    kubectl = [str(programs.program("kubectl")), "--context", stack.STACK]
    kubeconfig.main([stack.STACK])
    assert "k3s1" in machine.output(*kubectl, "get", "nodes")
    machine.output(*kubectl, "config", "set-context", "--current", "--namespace=kube-system")
    kubeconfig.main([stack.STACK, "--remove"])
    assert machine.output(*kubectl[:1], "config", "get-contexts", "-o", "name") == ""


def test_all_services_on_this_machine_at_once() -> None:
    with subprocess.Popen([sys.executable, "-m", "scripts.tunnel", stack.STACK], stdout=subprocess.PIPE) as tunnel:
        try:
            assert tunnel.stdout
            said = [tunnel.stdout.readline().decode().split() for _ in SERVICES]
            assert {service for _, service in said} == set(SERVICES)
            where = {service: url for url, service in said}
            assert "host: fcdemo3-" in machine.output("curl", "-fsS", where["default/fcdemo-service"])
            for service in ("kube-system/traefik", "kube-system/hubble-ui"):
                machine.output("curl", "-sS", where[service])
        finally:
            tunnel.send_signal(signal.SIGINT)
    assert tunnel.returncode == 0
