"""The program's graph as the engine would be told of it: the real `__main__.py` under Pulumi's mocks.

Nothing is created: what resources would answer is made up by `answer`, with secrets that tests look for.
"""

import asyncio
import contextvars
import gc
import json
import runpy
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network
from pathlib import Path
from threading import Lock
from typing import Any

import pulumi
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import empty_pb2, json_format
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.mocks import MockEngine, MockMonitor, MockResourceArgs, Mocks, MockSettings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

ROOT = Path(__file__).parents[2]
PROJECT = "cilium-bgp"
SIGNATURE, SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a value that a preview does not know."""

SSH_KEY = (
    Ed25519PrivateKey.generate()
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    .decode()
)
BGP_PASSWORD = "canary-of-bgp"
NGROK_TOKEN = "canary-of-ngrok"
SERVER_TOKEN, AGENT_TOKEN, PASSWORDS = "canary-of-servers", "canary-of-agents", "canary-of-passwords"
AUTHORITY = "0a" * 32
KUBECONFIG = "server: {}\nclient-key-data: canary-of-kubeconfig\n"
"""Of a server's URL."""
CANARIES = (SSH_KEY.splitlines()[2], BGP_PASSWORD, NGROK_TOKEN, SERVER_TOKEN, AGENT_TOKEN, "canary-of-kubeconfig")
"""What no one may see in plain text; of the SSH key a line that is its own."""

HOST_ADDRESS = "198.51.100.7"
HOST_KEY = "ssh-ed25519 AAAAhost"
HOST_PUBLIC_KEY = "ssh-ed25519 AAAAmade-on-the-host"

DEV: dict[str, Any] = {
    key.removeprefix(f"{PROJECT}:"): value
    for key, value in yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"].items()
}
DEV["host"]["adminCidrs"] = ["203.0.113.0/28", "2001:db8::/64"]
EXISTING = {
    "kind": "existing",
    "address": "192.0.2.10",
    "port": 2222,
    "user": "admin",
    "hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgYnkgdGhlIHByZXZpZXcgb25seSEhISEhISEh",
}
OWN_PASSWORD = {"sshPrivateKey": SSH_KEY, "bgpPassword": "given-by-the-user"}
"""Secrets of a stack that makes no BGP password."""


def values(**roots: Any) -> dict[str, Any]:
    """The stack `dev` with changes: `host` and `nodes` are replaced, of the other maps only the given keys."""
    return DEV | {
        root: {**DEV.get(root, {}), **change}
        if isinstance(change, Mapping) and root not in ("host", "nodes")
        else change
        for root, change in roots.items()
    }


@dataclass(frozen=True)
class Secret:
    """A value that the program has marked as a secret."""

    value: Any


@dataclass(frozen=True)
class Ran:
    """A command line, taken apart."""

    file: str
    parameters: tuple[str, ...]
    seconds: int
    sudo: bool
    on_server: bool = False
    """From the host, on whichever server answers."""
    without: str = ""
    """What it does where no server has ever run."""
    aside: str = ""
    """Whether the node leaves or returns around it."""


@dataclass(frozen=True)
class Registered:
    """One RegisterResource request."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    dependencies: frozenset[str]
    property_dependencies: dict[str, frozenset[str]]
    provider: str
    protect: bool
    delete_before_replace: bool
    deleted_with: str
    replace_with: frozenset[str]
    replacement_trigger: Any
    additional_secret_outputs: frozenset[str]
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    hooks: dict[str, list[str]]
    alias_types: frozenset[str]
    """Types that it had before, its name and parent being the same."""

    def ran(self, operation: str = "create") -> Ran:
        """What this command runs."""
        return taken_apart(self.inputs[operation])


@dataclass(frozen=True)
class Graph:
    """All that a program has registered; resources and outputs by URN."""

    resources: dict[str, Registered] = field(default_factory=dict)
    registered_outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Registered:
        (found,) = (its for its in self.resources.values() if its.name == name)
        return found

    def __iter__(self) -> Iterator[Registered]:
        return iter(self.resources.values())

    @property
    def outputs(self) -> dict[str, Any]:
        """The stack's."""
        (found,) = (its for urn, its in self.registered_outputs.items() if "::pulumi:pulumi:Stack::" in urn)
        return found

    def outputs_of(self, component: str) -> dict[str, Any]:
        return self.registered_outputs[self[component].urn]

    def children(self, component: str) -> dict[str, Registered]:
        return {its.name: its for its in self if its.parent == self[component].urn}

    def before(self, resource: Registered) -> set[str]:
        """Names of all that must be there before `resource` is created."""
        return {name_of(urn) for urn in self._reached(resource.urn, lambda its: its.dependencies)}

    def dies_with(self, resource: Registered) -> set[str]:
        """Names of all whose end is its end."""
        return {
            name_of(urn)
            for urn in self._reached(resource.urn, lambda its: [its.deleted_with] if its.deleted_with else [])
        }

    def _reached(self, urn: str, edges: Callable[[Registered], Iterable[str]]) -> set[str]:
        reached: set[str] = set()
        ahead = list(edges(self.resources[urn]))
        while ahead:
            if (here := ahead.pop()) not in reached:
                reached.add(here)
                ahead += edges(self.resources[here])
        return reached


def name_of(urn: str) -> str:
    return urn.rpartition("::")[2]


@lru_cache(1024)
def taken_apart(command: str) -> Ran:
    """The parts of a command line of components/remote.py."""
    words = shlex.split(command)
    if sudo := words[:2] == ["sudo", "-n"]:
        del words[:2]
    timeout, _, _, seconds, *alone = words[:8]
    interpreter, _, text, *rest = words[8:]
    aside = ""
    if rest[:1] == ["node_aside.sh"] and len(rest) > 3:
        _, aside, _, interpreter, _, text, *rest = rest
    if timeout != "timeout" or not alone[2].endswith((ROOT / "components/scripts/alone.sh").read_text()):
        raise ValueError(f"not bounded, or not alone: {words[:3]}")
    if text.endswith((ROOT / "components/scripts/on_server.py").read_text()):
        its = taken_apart(shlex.join(rest[5:]))
        return Ran(its.file, its.parameters, its.seconds, sudo, on_server=True, without=rest[2], aside=aside)
    if interpreter == "python3":  # which knows no name for a text that it is given; the text does
        rest.insert(0, text.partition("\nusage: ")[2].partition(" ")[0])
    file, *parameters = rest
    return Ran(file, tuple(parameters), int(seconds), sudo)


def strings(value: Any, *, secret_too: bool) -> Iterator[str]:
    """Every text within `value`."""
    match value:
        case Secret():
            if secret_too:
                yield from strings(value.value, secret_too=True)
        case Mapping():
            for key, item in value.items():
                yield key
                yield from strings(item, secret_too=secret_too)
        case list():
            for item in value:
                yield from strings(item, secret_too=secret_too)
        case _:
            yield str(value)


def plain(value: Any) -> Any:
    """`value` without its marks of secrecy."""
    match value:
        case Secret():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
    return value


def program(
    values: Mapping[str, Any], secrets: Mapping[str, str] | None = None, holding: Sequence[str] = ()
) -> Callable[[], None]:
    """`__main__.py` with a configuration. Without `secrets`: those that it needs. `holding`: with a secret inside."""
    if secrets is None:
        secrets = {"sshPrivateKey": SSH_KEY}
        if values.get("exposure", {}).get("mode") == "ngrok":
            secrets |= {"ngrokAuthtoken": NGROK_TOKEN}
    config = {f"{PROJECT}:{root}": json.dumps(value) for root, value in values.items()}
    config |= {f"{PROJECT}:{root}": value for root, value in secrets.items()}
    secret = [f"{PROJECT}:{root}" for root in (*secrets, *holding)]

    def run() -> None:
        pulumi.runtime.set_all_config(config, secret)
        runpy.run_path(str(ROOT / "__main__.py"))
        gc.enable()  # which a process of the program's own does without

    return run


def stack(values: Mapping[str, Any] = DEV, secrets: Mapping[str, str] | None = None, *, preview: bool = False) -> Graph:
    """What `program` registers; the same graph for the same configuration. `preview`: no resource's answer is known."""
    return _stack(json.dumps([values, secrets]), preview)


@lru_cache(32)
def _stack(configuration: str, preview: bool) -> Graph:
    return registered(program(*json.loads(configuration)), preview=preview)


def dev() -> Graph:
    """The article's stack."""
    return stack()


def registered(program: Callable[[], Awaitable[None] | None], *, preview: bool = False) -> Graph:
    """What `program` registers in a stack of its own."""
    monitor = Monitor(preview)
    outputs: set[asyncio.Task[Any]] = set()

    async def all_at_once() -> None:
        """The program, and what it waits for; Pulumi waits for one after the other, which takes twice as long."""
        if (its := program()) is not None:
            await its
        while pending := {output for output in outputs if not output.done()}:
            await asyncio.wait(pending)

    async def run() -> None:
        # Requests are made in threads, where nothing of ours runs: to measure there would double what a run takes.
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(initializer=sys.settrace, initargs=(None,)))
        configure(
            MockSettings(  # type: ignore[no-untyped-call]
                monitor=monitor,
                monitor_features=set(
                    monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures  # type: ignore[no-untyped-call]
                ),
                engine=MockEngine(None),
                project=PROJECT,
                stack="dev",
                dry_run=preview,
                organization=None,
                callbacks=None,
                outputs=outputs,  # else those that wait of a former stack, or of a module's top level
            )
        )
        await run_in_stack(all_at_once)

    # Pulumi's settings are context variables: one stack leaves nothing to the next.
    contextvars.copy_context().run(asyncio.run, run())
    return monitor.graph


def asked(token: str) -> dict[str, Any]:
    """What a function of a provider returns."""
    if token != "linode:index/getFirewalls:getFirewalls":
        raise NotImplementedError(token)
    device = {"id": 4700, "type": "linode", "entityId": 4711, "label": "", "url": "/v4/linode/instances/4711"}
    return {"firewalls": [{"devices": [device]}]}


class Answers(Mocks):
    """Monitor answers by itself what is registered."""

    def call(self, args: Any) -> Any:
        return asked(args.token)

    def new_resource(self, args: MockResourceArgs) -> Any:
        raise NotImplementedError(args.name)


class Monitor(MockMonitor):
    """Records requests whole; Pulumi's own hides their options."""

    def __init__(self, preview: bool) -> None:
        super().__init__(Answers())
        self.preview = preview
        self.graph = Graph()
        self._lock = Lock()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine does: all types above, but not the stack's."""
        above = parent.split("::")[2] if parent else ""
        types = [type_] if above in ("", "pulumi:pulumi:Stack") else [above, type_]
        return f"urn:pulumi:dev::{PROJECT}::{'$'.join(types)}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        its = Registered(
            urn=urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            custom=request.custom,
            inputs=decoded(json_format.MessageToDict(request.object)),
            dependencies=frozenset(request.dependencies),
            property_dependencies={key: frozenset(its.urns) for key, its in request.propertyDependencies.items()},
            provider=request.provider,
            protect=request.protect,
            delete_before_replace=request.deleteBeforeReplace,
            deleted_with=request.deletedWith,
            replace_with=frozenset(request.replace_with),
            replacement_trigger=json_format.MessageToDict(request.replacement_trigger),
            additional_secret_outputs=frozenset(request.additionalSecretOutputs),
            retain_on_delete=request.retainOnDelete,
            ignore_changes=tuple(request.ignoreChanges),
            replace_on_changes=tuple(request.replaceOnChanges),
            hooks={field.name: list(names) for field, names in request.hooks.ListFields()},
            alias_types=frozenset(alias.spec.type for alias in request.aliases),
        )
        with self._lock:
            if urn in self.graph.resources:
                raise ValueError(f"{urn} is registered twice")
            self.graph.resources[urn] = its
        state, id_ = dict(its.inputs), ""
        if its.custom and not self.preview:
            id_ = "4711"
            state |= answer(its)
        state |= {key: Secret(state[key]) for key in its.additional_secret_outputs & state.keys()}
        answered = Struct()
        json_format.ParseDict(encoded(state), answered)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=id_, object=answered)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        self.graph.registered_outputs[request.urn] = decoded(json_format.MessageToDict(request.outputs))
        return empty_pb2.Empty()


def decoded(value: Any) -> Any:
    match value:
        case {**its} if its.get(SIGNATURE) == SECRET_SIGNATURE:
            return Secret(decoded(its["value"]))
        case dict():
            return {key: decoded(item) for key, item in value.items()}
        case list():
            return [decoded(item) for item in value]
        case float() if value.is_integer():
            return int(value)
    return value


def encoded(value: Any) -> Any:
    match value:
        case Secret():
            return {SIGNATURE: SECRET_SIGNATURE, "value": encoded(value.value)}
        case dict():
            return {key: encoded(item) for key, item in value.items()}
        case list():
            return [encoded(item) for item in value]
    return value


def answer(its: Registered) -> dict[str, Any]:
    """What the resource would have after its creation, besides its inputs."""
    match its.type.removeprefix("pulumi-python:dynamic/"):
        case "command:remote:Command":
            return {"stdout": printed(plain(its.inputs)), "stderr": ""}
        case "linode:index/instance:Instance":
            return {"ipv4s": [HOST_ADDRESS]}
        case "cilium-bgp:HostKey":
            return {"key": HOST_KEY}
        case "cilium-bgp:Boot":
            return {"started": "first start"}
        case "cilium-bgp:RandomHex":
            return {"value": BGP_PASSWORD if its.additional_secret_outputs else "0f" * 8}
        case "cilium-bgp:ClusterTokens":
            made = {"token": SERVER_TOKEN, "agent_token": AGENT_TOKEN, "passwords": PASSWORDS}
            return {key: Secret(value) for key, value in made.items()}
        case "cilium-bgp:ClusterIdentity":
            return {"starter": plain(its.inputs["servers"])[0], "renewed": "0"}
        case "lxd:Instance":
            address = plain(its.inputs["devices"])["eth0"]["ipv4.address"]
            return {
                "ipv4_address": address,
                "mac_address": f"00:16:3e:00:00:{int(address.rpartition('.')[2]):02x}",
                "status": "Running",
                "ssh_host_key": f"ssh-ed25519 AAAA{its.inputs['name']}",
                "pool": "default",
                "project": plain(its.inputs["lxd"])["project"],
            }
        case "kubernetes:helm.sh/v3:Release":
            return {"status": {"revision": 1, "status": "deployed"}}
        case "kubernetes:core/v1:Service" if its.inputs["spec"]["type"] == "LoadBalancer":
            return {"status": {"loadBalancer": {"ingress": [{"ip": "10.26.23.35"}]}}}
    return {}


def printed(inputs: Mapping[str, Any]) -> str:
    """Standard output of a command's script."""
    ran = taken_apart(inputs["create"])
    match ran.file, ran.parameters:
        case "preflight.sh", _:
            return "ready"
        case "lxd_install.sh", _:
            return "/var/lib/lxd/unix.socket"
        case "kernel_prepare.sh", (first, second, *_):
            return f"{first},{second}"
        case "ssh_key.sh", _:
            return HOST_PUBLIC_KEY
        case "firewall.sh", (bridge, _, _, _, _, *nodes):
            return f"{bridge}: BGP from {', '.join(nodes)}"
        case (("frr.sh" | "node_joined.sh"), (first, *_)):
            return first
        case "node_prepare.sh", _:
            return "bpf file system: device 43\nmachine-id"
        case (("k3s_ca.sh" | "node_forget.sh"), _):
            return AUTHORITY
        case "k3s_kubeconfig.sh", _:
            return KUBECONFIG.format("https://127.0.0.1:6443")
        case "cilium_ready.sh", (_, revision, nodes, *workloads):
            return f"revision {revision} on {nodes}: {' '.join(workloads)}"
        case "load_balancer_ips.py", (_, pool, *services):
            return json.dumps(dict(zip(services, map(str, IPv4Network(pool)), strict=False)))
        case "urls.py", (_, urls, *_):
            return urls
        case "pod_ranges.py", (_, _, *nodes):
            return json.dumps({node: [f"10.42.{number}.0/24"] for number, node in enumerate(nodes)})
        case "frr_pods.sh", (_, *pairs):
            return " ".join(pairs)
        case "proof.py", (_, nodes, upstreams, addresses, _, *http):
            return json.dumps(
                {
                    "sessions": {name: {"state": "Established", "prefixes": 1} for name in json.loads(nodes)},
                    "upstreams": {name: {"state": "Established"} for name in json.loads(upstreams)},
                    "routes": {address: ["10.26.23.11"] for address in json.loads(addresses).values()},
                    "http": dict.fromkeys(http, 200),
                }
            )
        case "ngrok.sh", _:
            return "https://shown.ngrok.example"
        case "l7_check.sh", _:
            return "HTTP/1.1 200 OK"
    return ""
