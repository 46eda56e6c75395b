"""The program on real LXD, Kubernetes, Cilium and FRR, seen from outside: by ip, vtysh, lxc, kubectl, hubble and curl.

The order is the story: up by ConfigMap, unchanged, over to the control plane, unchanged, gone. `make e2e` runs it.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import host, stack, store
from tests.e2e import machine
from tests.e2e.answers import answers
from tests.engine.world import World

pytestmark = pytest.mark.e2e

KUBECTL = str(store.CACHE / "bin" / "kubectl")
HUBBLE = str(store.CACHE / "bin" / "hubble")
SERVICES = ("kube-system/traefik", "kube-system/hubble-relay", "kube-system/hubble-ui", "default/fcdemo-service")
FCDEMO = "default/fcdemo-service"
NODES = {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12", "k3s3": "10.26.23.13"}


class Lab:
    """The stack that is up, and the tools that look at it."""

    def __init__(self) -> None:
        self.outputs = stack.outputs()
        self.kubeconfig = host.RUN / "e2e-kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self.outputs["kubeconfig"])

    def kubectl(self, *arguments: str) -> Any:
        return json.loads(machine.output(KUBECTL, "--kubeconfig", str(self.kubeconfig), *arguments, "-o", "json"))

    def services(self) -> dict[str, list[str]]:
        return {
            f"{item['metadata']['namespace']}/{item['metadata']['name']}": [
                ingress["ip"] for ingress in item["status"]["loadBalancer"].get("ingress", [])
            ]
            for item in self.kubectl("get", "services", "-A")["items"]
            if item["spec"]["type"] == "LoadBalancer"
        }


def bgp_routes() -> dict[str, set[str]]:
    """Next hops of every BGP route in the kernel's table."""
    return {
        route["dst"]: {hop["gateway"] for hop in route.get("nexthops", [route])}
        for route in machine.parsed("ip", "-json", "-4", "route", "show", "proto", "bgp")
    }


def ask(address: str) -> str:
    """The body of an answer over HTTP; the route is our bridge's, looked at before anything is sent."""
    route = machine.parsed("ip", "-json", "route", "get", address)[0]
    assert route["dev"] == stack.BRIDGE, f"{address} would leave this machine by {route['dev']}"
    return machine.output("curl", "-fsS", "--max-time", "5", f"http://{address}/")


@pytest.fixture(scope="module", autouse=True)
def before() -> Iterator[dict[str, Any]]:
    """The machine as it was, without a lab of an earlier run. What goes wrong below leaves its journals behind."""
    machine.output(str(store.REPOSITORY / "scripts" / "setup-lxd"), "start", seconds=300)  # its package stays
    assert stack.main("destroy") == 0
    kept = machine.snapshot()
    yield kept
    if os.environ.get("KEEP") != "1":
        stack.main("destroy")


@pytest.fixture(autouse=True)
def journals(request: pytest.FixtureRequest) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(stack.journals())


@pytest.fixture(scope="module")
def configmap(before: dict[str, Any]) -> Lab:
    started = time.monotonic()
    assert stack.main("up", "configmap") == 0
    print(f"up in {time.monotonic() - started:.0f} s")
    return Lab()


@pytest.fixture(scope="module")
def control_plane(configmap: Lab) -> Lab:
    """The running stack, switched over; without the pods' ranges this time."""
    gaps = Gaps(configmap.outputs["load_balancer_ips"][FCDEMO])
    with gaps:
        assert stack.main("up", "control-plane") == 0
    lab = Lab()
    lab.longest_gap = gaps.longest  # type: ignore[attr-defined]
    lab.former_addresses = configmap.outputs["load_balancer_ips"]  # type: ignore[attr-defined]
    return lab


class Gaps:
    """Asks an address several times a second meanwhile; `longest` is the longest time without an answer."""

    def __init__(self, address: str) -> None:
        self.address, self.longest = address, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(0.25):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                ask(self.address)
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
        self.longest = max(self.longest, time.monotonic() - last)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def check_nodes(lab: Lab) -> None:
    seen = {
        node["metadata"]["name"]: {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"]
        for node in lab.kubectl("get", "nodes")["items"]
    }
    assert seen == dict.fromkeys(NODES, "True")
    assert {name: node["address"] for name, node in lab.outputs["nodes"].items()} == NODES
    instances = machine.parsed("lxc", "list", "--project", stack.PROJECT, "--format", "json")
    assert {each["name"]: each["status"] for each in instances} == dict.fromkeys(NODES, "Running")
    devices = {
        machine.output("lxc", "exec", "--project", stack.PROJECT, node, "--", "stat", "-c", "%d", "/sys/fs/bpf")
        for node in NODES
    }
    assert len(devices) == len(NODES), "nodes share a bpf file system"


def check_addresses(lab: Lab, pods_announced: bool) -> None:
    services = lab.services()
    assert set(services) == set(SERVICES)
    assert {name: [address] for name, address in lab.outputs["load_balancer_ips"].items()} == services
    routes = bgp_routes()
    for name, (address,) in services.items():
        assert routes[address] == set(NODES.values()), f"{name} is no equal-cost route over every node"
        assert set(lab.outputs["bgp"]["routes"][address]) == routes[address]
    pods = {destination: hops for destination, hops in routes.items() if destination.startswith("10.42.")}
    assert len(pods) == (len(NODES) if pods_announced else 0)
    assert set(routes) == {address for (address,) in services.values()} | set(pods), "the router has learned more"
    peers = machine.parsed("vtysh", "-c", "show bgp ipv4 unicast summary json")["peers"]
    assert {address: peer["state"] for address, peer in peers.items()} == dict.fromkeys(NODES.values(), "Established")
    assert {peer["pfxSnt"] for peer in peers.values()} == {0}, "the nodes are told something"


def check_answers(lab: Lab) -> None:
    address = lab.outputs["load_balancer_ips"][FCDEMO]
    pods = {
        pod["metadata"]["name"]
        for pod in lab.kubectl("get", "pods", "-n", "default", "-l", "app=fcdemo3")["items"]
        if {each["type"]: each["status"] for each in pod["status"]["conditions"]}.get("Ready") == "True"
    }
    assert len(pods) == 4
    answered = {re.search(r"^host: (.+)$", ask(address), re.MULTILINE)[1] for _ in range(60)}  # type: ignore[index]
    assert answered == pods


def test_up_from_nothing_by_configmap(configmap: Lab) -> None:
    check_nodes(configmap)
    check_addresses(configmap, pods_announced=True)
    check_answers(configmap)


def test_the_kubeconfig_works_with_tls_verified(configmap: Lab) -> None:
    content = yaml.safe_load(configmap.kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    assert cluster["server"] == configmap.outputs["kube_api"] == f"https://127.0.0.1:{stack.API_PORT}"
    assert cluster.get("certificate-authority-data")
    assert not cluster.get("insecure-skip-tls-verify")
    assert len(configmap.kubectl("get", "nodes")["items"]) == len(NODES)
    # and the login user of the node has one of its own
    node = ["lxc", "exec", "--project", stack.PROJECT, "k3s1", "--", "sudo", "-u", "debian", "-i"]
    assert "400" in machine.output(*node, "stat", "-c", "%a", "/home/debian/.kube/config")
    assert "k3s1" in machine.output(*node, "kubectl", "get", "nodes")


def test_hubble_sees_the_request_through_the_printed_tunnel(configmap: Lab) -> None:
    line = configmap.outputs["ssh_commands"]["kube-system/hubble-relay"]
    known = host.RUN / "e2e-known-hosts"
    known.write_text(f"[127.0.0.1]:{host.SSH_PORT} {host.key('host_key').with_suffix('.pub').read_text()}")
    options = ["-i", str(host.key("client_key")), "-o", f"UserKnownHostsFile={known}", "-o", "ExitOnForwardFailure=yes"]
    with subprocess.Popen([*line.split(), *options], stdin=subprocess.DEVNULL) as tunnel:
        try:
            host.await_port("127.0.0.1", 4245)
            ask(configmap.outputs["load_balancer_ips"][FCDEMO])
            observe = [
                HUBBLE,
                "observe",
                "--server",
                "localhost:4245",
                "--protocol",
                "tcp",
                "--to-namespace",
                "default",
            ]
            flows = machine.output(*observe, "--last", "200", "-o", "json")
        finally:
            tunnel.terminate()
    pods = {flow["flow"]["destination"]["pod_name"] for flow in map(json.loads, flows.splitlines()) if "flow" in flow}
    assert any(pod.startswith("fcdemo3-") for pod in pods), f"flows only to {pods}"


def test_the_simulator_answers_as_the_lab_does(configmap: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = answers(stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.STACK))
    with World(tmp_path, monkeypatch, "Pulumi.local.yaml") as pretend:
        for root in ("bgp", "k3s", "cilium"):
            pretend.setting(root).update(yaml.safe_load(stack.CONFIG.read_text())["config"][f"cilium-bgp:{root}"])
        pretend.setting("lxd")["project"] = stack.PROJECT
        pretend.setting("cilium")["chart"] = "https://helm.cilium.io"
        pretend.up()
        simulated = answers(pretend.pulumi("stack", "export", "--show-secrets").output)
    assert real == simulated


def test_a_second_up_changes_nothing(configmap: Lab) -> None:
    assert stack.operate("up", "--yes", "--skip-preview", "--expect-no-changes") == 0


def test_a_refresh_changes_nothing(configmap: Lab) -> None:
    assert stack.operate("refresh", "--yes", "--skip-preview", "--expect-no-changes") == 0


def test_the_preview_of_the_switch_says_what_happens(configmap: Lab) -> None:
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
    assert deleted == {"cilium-bgp-config"}
    assert not [step["urn"] for step in shown if "replace" in step["op"]]


def test_the_switch_keeps_addresses_and_traffic(control_plane: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert control_plane.outputs["load_balancer_ips"] == control_plane.former_addresses  # type: ignore[attr-defined]
    hold_time = 90
    assert control_plane.longest_gap < hold_time  # type: ignore[attr-defined]
    with capsys.disabled():
        print(f"longest time without an answer: {control_plane.longest_gap:.1f} s", end=" ")  # type: ignore[attr-defined]


def test_the_control_plane_announces_the_same(control_plane: Lab) -> None:
    check_nodes(control_plane)
    check_addresses(control_plane, pods_announced=stack.POD_CIDR_ANNOUNCED["control-plane"])
    check_answers(control_plane)
    maps = control_plane.kubectl("get", "configmaps", "-n", "kube-system")["items"]
    assert "bgp-config" not in {each["metadata"]["name"] for each in maps}


def test_after_the_switch_nothing_changes(control_plane: Lab) -> None:
    assert stack.operate("up", "--yes", "--skip-preview", "--expect-no-changes") == 0
    assert stack.operate("refresh", "--yes", "--skip-preview", "--expect-no-changes") == 0


def test_a_dead_node_blocks_nothing(control_plane: Lab) -> None:
    machine.output("lxc", "stop", "--force", "--project", stack.PROJECT, "k3s3")
    left = {name: address for name, address in NODES.items() if name != "k3s3"}
    stack.prepare("control-plane", left)
    touched = {step["urn"].rpartition("::")[2] for step in stack.preview_steps() if step["op"] not in ("same", "read")}
    assert not {name for name in touched if name.startswith(("k3s1", "k3s2"))}, "another node is touched"
    assert stack.operate("up", "--yes", "--skip-preview") == 0
    lab = Lab()
    assert {node["metadata"]["name"] for node in lab.kubectl("get", "nodes")["items"]} == set(left)
    instances = machine.parsed("lxc", "list", "--project", stack.PROJECT, "--format", "json")
    assert {each["name"] for each in instances} == set(left)
    for address in lab.outputs["load_balancer_ips"].values():
        assert bgp_routes()[address] == set(left.values())
    ask(lab.outputs["load_balancer_ips"][FCDEMO])


def test_destroy_leaves_nothing(control_plane: Lab, before: dict[str, Any]) -> None:
    assert stack.main("destroy") == 0
    after = machine.snapshot()
    for what, was in before.items():
        assert after[what] == was, f"{what} are not as before"
