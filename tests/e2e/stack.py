"""The lab's stack while it is up, and what is seen of it from outside."""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from lab import machine as lab_machine
from lab import programs, stack, store
from tests.e2e import machine

SERVICES = ("kube-system/traefik", "kube-system/hubble-relay", "kube-system/hubble-ui", "default/fcdemo-service")
FCDEMO = "default/fcdemo-service"
NODES = {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12", "k3s3": "10.26.23.13"}
FIVE = stack.SERVERS | NODES
TEN = NODES | stack.AGENTS
ADDRESSES = FIVE | TEN
HOST = stack.HOST


class Stack:
    """A stack that is up: its outputs, and kubectl through the host's address."""

    def __init__(self) -> None:
        self.outputs = stack.outputs()
        self.fcdemo: str = self.outputs["load_balancer_ips"][FCDEMO]
        self.kubeconfig = stack.RUN / "e2e-kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self.outputs["kubeconfig"])

    def kubectl(self, *arguments: str) -> Any:
        kubectl = [str(programs.program("kubectl")), "--kubeconfig", str(self.kubeconfig)]
        return json.loads(machine.output(*kubectl, *arguments, "-o", "json"))

    def services(self) -> dict[str, list[str]]:
        return {
            f"{item['metadata']['namespace']}/{item['metadata']['name']}": [
                ingress["ip"] for ingress in item["status"]["loadBalancer"].get("ingress", [])
            ]
            for item in self.kubectl("get", "services", "-A")["items"]
            if item["spec"]["type"] == "LoadBalancer"
        }

    def ready(self) -> dict[str, str]:
        return {
            node["metadata"]["name"]: {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"]
            for node in self.kubectl("get", "nodes")["items"]
        }


class Fresh(Stack):
    """The stack on a host that had nothing, and what that listened on before."""

    def __init__(self, listened: set[tuple[str, str, int]]) -> None:
        super().__init__()
        self.listened = listened


def up(*options: str) -> None:
    assert stack.operate("up", "--yes", "--skip-preview", *options) == 0


def set_value(root: str, *path: str, value: object) -> None:
    """Another value in the stack's configuration."""
    content = yaml.safe_load(stack.CONFIG.read_text())
    inner = content["config"]
    keys = [f"cilium-bgp:{root}", *path]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    stack.CONFIG.write_text(yaml.safe_dump(content, sort_keys=False))


def unchanged() -> None:
    """A second `up` and a refresh change nothing."""
    up("--expect-no-changes")
    assert stack.operate("refresh", "--yes", "--skip-preview", "--expect-no-changes") == 0


def on_node(node: str, *command: str) -> str:
    return HOST.run("lxc", "exec", node, "--", *command)


def sessions() -> dict[str, str]:
    peers = HOST.json("vtysh", "-c", "show bgp ipv4 unicast summary json").get("peers", {})
    return {address: peer["state"] for address, peer in peers.items()}


def bgp_routes(of: lab_machine.Machine = HOST) -> dict[str, set[str]]:
    """Next hops of every BGP route in the kernel of the host, or of another machine."""
    return {
        route["dst"]: {hop["gateway"] for hop in route.get("nexthops", [route])}
        for route in of.json("ip", "-json", "-4", "route", "show", "proto", "bgp")
    }


def ask(address: str, by: lab_machine.Machine = HOST) -> str:
    """The body of an answer over HTTP, asked on the host, or by another machine."""
    return by.run("curl", "-fsS", "--max-time", "2", f"http://{address}/", seconds=10)


def check_nodes(lab: Stack, nodes: Collection[str] = NODES) -> None:
    wanted = {name: ADDRESSES[name] for name in nodes}
    assert lab.ready() == dict.fromkeys(wanted, "True")
    assert {name: node["address"] for name, node in lab.outputs["nodes"].items()} == wanted
    instances = HOST.json("lxc", "list", "--format", "json")
    assert {each["name"]: each["status"] for each in instances} == dict.fromkeys(wanted, "Running")
    devices = {on_node(node, "stat", "-c", "%d", "/sys/fs/bpf") for node in wanted}
    assert len(devices) == len(wanted), "nodes share a bpf file system"


def check_addresses(lab: Stack, mode: str, nodes: Collection[str] = NODES) -> None:
    hops = {ADDRESSES[name] for name in nodes}
    services = lab.services()
    assert set(services) == set(SERVICES)
    assert {name: [address] for name, address in lab.outputs["load_balancer_ips"].items()} == services
    routes = bgp_routes()
    for name, (address,) in services.items():
        proven = set(lab.outputs["bgp"]["routes"][address])
        if mode == "control-plane":
            assert proven == routes[address] == hops, f"{name} is no equal-cost route over every node"
        # Cilium 1.16's older speaker now and then leaves out a node for a while, or until something about the Service
        # changes: its queue drops an event that came before another (seen once in two labs).
        assert proven, f"{name} was claimed without a route"
        assert proven <= routes[address] <= hops, f"{name} has a route over what is no node"
    pods = {destination: hops for destination, hops in routes.items() if destination.startswith("10.42.")}
    assert len(pods) == (len(hops) if stack.POD_CIDR_ANNOUNCED[mode] else 0)
    assert set(routes) == {address for (address,) in services.values()} | set(pods), "the router has learned more"
    assert sessions() == dict.fromkeys(hops, "Established")
    peers = HOST.json("vtysh", "-c", "show bgp ipv4 unicast summary json")["peers"]
    assert {peer["pfxSnt"] for peer in peers.values()} == {0}, "the nodes are told something"


def check_answers(lab: Stack) -> None:
    pods = {
        pod["metadata"]["name"]
        for pod in lab.kubectl("get", "pods", "-n", "default", "-l", "app=fcdemo3")["items"]
        if {each["type"]: each["status"] for each in pod["status"]["conditions"]}.get("Ready") == "True"
    }
    assert len(pods) == 4
    answers = HOST.run("sh", "-c", f"for i in $(seq 80); do curl -fsS --max-time 2 http://{lab.fcdemo}/; done")
    assert set(re.findall(r"^host: (.+)$", answers, re.MULTILINE)) == pods


def check_all(lab: Stack, mode: str = "control-plane", nodes: Collection[str] = NODES) -> None:
    """Every claim of the stack, looked at from outside."""
    check_nodes(lab, nodes)
    check_addresses(lab, mode, nodes)
    check_answers(lab)


class Gaps:
    """Asks an address several times a second meanwhile; `longest` is the longest time without an answer, in seconds."""

    def __init__(self, address: str) -> None:
        self.address, self.longest = address, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(0.25):
            with contextlib.suppress(store.BuildError):
                ask(self.address)
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
        self.longest = max(self.longest, time.monotonic() - last)

    def __enter__(self) -> "Gaps":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Load:
    """Asks an address 50 times a second meanwhile, from the host; `failed` are those without an answer within 2 s,
    and `late` is by how much at most it was late to ask."""

    def __init__(self, address: str) -> None:
        self.address, self.asked, self.late = address, 0, 0.0
        self.failed: list[tuple[float, str]] = []

    def __enter__(self) -> "Load":
        command = ["lxc", "exec", "--project", lab_machine.PROJECT, HOST.name, "--", "python3", "-c"]
        program = (Path(__file__).parent / "load.py").read_text()
        pipe = subprocess.PIPE
        self._asking = subprocess.Popen([*command, program, self.address], stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        said = json.loads(self._asking.communicate(timeout=60)[0])
        self.asked, self.failed, self.late = said["asked"], said["failed"], said["late"]


def until(seconds: float, what: str, holds: Any) -> float:
    """Wait until `holds()`; how long it took."""
    started = time.monotonic()
    seen: object = None
    while time.monotonic() < started + seconds:
        try:
            if holds():
                return time.monotonic() - started
        except (AssertionError, store.BuildError, KeyError) as error:
            seen = error
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:g} s; last seen: {seen}")
