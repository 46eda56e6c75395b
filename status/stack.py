"""What a stack's state says: how its host is reached, and what its last `up` has proven."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.remote import api_endpoint

ROOT = Path(__file__).parent.parent
SIGNATURE = "4dabf18193072939515e22adb298388d"
"""The key that a secret has in an exported state."""
WAY = {"host", "port", "user", "privateKey", "hostKey"}
INSTANCE = "dynamic/lxd:Instance"
SECONDS = 120


class UnknownError(Exception):
    """Nothing can be said of the stack, and why."""


@dataclass(frozen=True)
class Stack:
    """As its last `up` has left it, ended well or not."""

    name: str
    way: Mapping[str, Any]
    """SSH to the host, a secret: see `lxd_resources.Endpoint`."""
    nodes: Mapping[str, str]
    """Address of each node."""
    outputs: Mapping[str, Any]
    """The stack's, secrets too; none before the first `up` that ended well."""

    @property
    def addresses(self) -> dict[str, str]:
        """Of each Service of the stack's own; `up` has proven that they are routed."""
        given, lines = self.outputs.get("load_balancer_ips", {}), self.outputs.get("ssh_commands", {})
        return {service: address for service, address in given.items() if service in lines}

    @property
    def http(self) -> list[str]:
        """Services of which it has proven that they answer HTTP."""
        return list(self.outputs.get("bgp", {}).get("http", {}))

    @property
    def upstreams(self) -> dict[str, str]:
        """Address of each router beyond the host that it has proven to be told."""
        return {name: its["address"] for name, its in self.outputs.get("bgp", {}).get("upstreams", {}).items()}

    @property
    def root(self) -> bool:
        """Whether it logs in as root."""
        return bool(self.way["user"] == "root")

    @property
    def endpoint(self) -> str:
        """Name of the API's on the host."""
        return api_endpoint(self.name.rpartition("/")[2])

    @property
    def ssh(self) -> str:
        """The command that logs in."""
        port = "" if int(self.way["port"]) == 22 else f"-p {int(self.way['port'])} "
        return f"ssh {port}{self.way['user']}@{self.way['host']}"


def read(name: str) -> Stack:
    """Errors: UnknownError."""
    return stack_of(name, exported(name).get("resources") or [])


def exported(name: str) -> dict[str, Any]:
    """Its deployment, with what is secret in it. Errors: UnknownError."""
    command = ["pulumi", "stack", "export", "--show-secrets", "--stack", name, "--non-interactive"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise UnknownError(done.stderr.strip())
    deployment: dict[str, Any] = json.loads(done.stdout)["deployment"]
    return deployment


def stack_of(name: str, resources: list[dict[str, Any]]) -> Stack:
    """Errors: UnknownError."""
    outputs = {its["urn"]: revealed(its.get("outputs", {})) for its in resources}
    of_the_stack: dict[str, Any] = next(
        (outputs[its["urn"]] for its in resources if its["type"] == "pulumi:pulumi:Stack"), {}
    )
    # What is nearest to the host was made or renewed first.
    way = next((way for its in outputs.values() for way in ways(its)), None)
    if way is None:
        raise UnknownError(f"the stack {name} has nothing on any host yet: make up STACK={name}")
    known = {its: node["address"] for its, node in of_the_stack.get("nodes", {}).items()}
    made = {
        outputs[its["urn"]]["name"]: outputs[its["urn"]]["ipv4_address"]
        for its in resources
        if its["type"].endswith(INSTANCE)
    }
    return Stack(name, way, known or made, of_the_stack)


def revealed(value: Any) -> Any:
    """With what was secret in it as it is."""
    match value:
        case {"plaintext": text} if SIGNATURE in value:
            return revealed(json.loads(text))
        case dict():
            return {key: revealed(item) for key, item in value.items()}
        case list():
            return [revealed(item) for item in value]
    return value


def ways(outputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those to the host that a resource keeps: a script of its own goes to a node by it."""
    for key in ("proxy", "machine", "lxd"):
        way = outputs.get(key)
        if isinstance(way, dict) and way.keys() >= WAY:
            yield way
            return
