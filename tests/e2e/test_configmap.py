"""From a fresh host to a proven cluster, by ConfigMap, with the program's defaults: image, login user, installer."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import programs, stack
from tests.e2e import machine
from tests.e2e.answers import answers
from tests.e2e.stack import HOST, NODES, Stack, ask, check_all, on_node, unchanged
from tests.engine.world import World

pytestmark = pytest.mark.e2e


def test_up_from_a_fresh_host(configmap: Stack) -> None:
    check_all(configmap, "configmap")


def test_the_profile_of_other_instances_is_left_alone(configmap: Stack) -> None:
    profile = HOST.json("lxc", "query", "/1.0/profiles/default")
    assert (profile["config"], profile["devices"]) == ({}, {}), "as LXD has made it"


def test_the_machine_below_is_as_before(configmap: Stack, before: dict[str, Any]) -> None:
    during = machine.standing()
    for what, was in before["standing"].items():
        assert during[what] == was, f"{what} are not as before"


def test_the_kubeconfig_works_with_tls_verified(configmap: Stack) -> None:
    content = yaml.safe_load(configmap.kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    assert cluster["server"] == configmap.outputs["kube_api"] == f"https://{HOST.address}:6443"
    assert cluster.get("certificate-authority-data")
    assert not cluster.get("insecure-skip-tls-verify")
    assert len(configmap.kubectl("get", "nodes")["items"]) == len(NODES)
    # and the login user of the node has one of its own
    user = ["sudo", "-u", "ubuntu", "-i"]
    assert "400" in on_node("k3s1", *user, "stat", "-c", "%a", "/home/ubuntu/.kube/config")
    assert "k3s1" in on_node("k3s1", *user, "kubectl", "get", "nodes")


def test_hubble_sees_the_request_through_the_printed_tunnel(configmap: Stack) -> None:
    line = configmap.outputs["ssh_commands"]["kube-system/hubble-relay"]
    known = stack.RUN / "e2e-known-hosts"
    known.write_text(f"{HOST.address} {HOST.host_key()}")
    options = ["-i", str(stack.KEY), "-o", f"UserKnownHostsFile={known}", "-o", "ExitOnForwardFailure=yes"]
    hubble = [str(programs.program("hubble")), "observe", "--server", "localhost:4245", "--protocol", "tcp"]
    with subprocess.Popen([*line.split(), *options], stdin=subprocess.DEVNULL) as tunnel:
        try:
            machine.output("timeout", "10", "sh", "-c", "until ss -Hltn | grep -q 127.0.0.1:4245; do sleep 0.1; done")
            ask(configmap.fcdemo)
            flows = machine.output(*hubble, "--to-namespace", "default", "--last", "200", "-o", "json")
        finally:
            tunnel.terminate()
    pods = {flow["flow"]["destination"]["pod_name"] for flow in map(json.loads, flows.splitlines()) if "flow" in flow}
    assert any(pod.startswith("fcdemo3-") for pod in pods), f"flows only to {pods}"


def test_the_simulator_answers_as_the_lab_does(
    configmap: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answers(stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.STACK))
    with World(tmp_path, monkeypatch, "Pulumi.local.yaml") as pretend:
        for root in ("bgp", "k3s", "cilium"):
            pretend.setting(root).update(yaml.safe_load(stack.CONFIG.read_text())["config"][f"cilium-bgp:{root}"])
        pretend.setting("cilium")["chart"] = "https://helm.cilium.io"
        pretend.up()
        simulated = answers(pretend.pulumi("stack", "export", "--show-secrets").output)
    assert real == simulated


def test_nothing_changes_afterwards(configmap: Stack) -> None:
    unchanged()


def test_the_preview_of_the_switch_says_what_happens(configmap: Stack) -> None:
    stack.prepare("control-plane")
    shown = stack.preview_steps()
    created = {step["urn"].rpartition("::")[2] for step in shown if step["op"] == "create"}
    deleted = {step["urn"].rpartition("::")[2] for step in shown if step["op"] == "delete"}
    assert created == {
        "cilium-bgp-auth",
        "cilium-crds",
        "cilium-ciliumloadbalancerippool",
        "cilium-ciliumbgpadvertisement",
        "cilium-ciliumbgppeerconfig",
        "cilium-ciliumbgpclusterconfig",
    }
    assert deleted == {"cilium-bgp-config", "pods", "pods-ranges", "pods-router", "pods-router-finalizer"}
    assert not [step["urn"] for step in shown if "replace" in step["op"]]
