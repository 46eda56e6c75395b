"""A preview says what `up` does: for every setting, in both modes of BGP where it has a part in both.

Each is a preview and a run of the real engine, which takes a quarter of an hour: `make chaos`. Settings that a running
cluster cannot bear, and what has a story of its own, are named with the test that has them.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from settings.sections import keys, sections
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, pytest.mark.chaos, needs_pulumi]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgYnkgdGhlIHByZXZpZXcgb25seSEhISEhISEh"
FORWARD = {"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080}
CHANGES: dict[str, Any] = {
    "host.label": "another",
    "host.type": "g7-highmem-2",
    "host.authorizedUsers": ["somebody"],
    "host.adminCidrs": ["203.0.113.0/24"],
    "lxd.image": "local:debian-12",
    "lxd.project": "lab",
    "lxd.timeoutSeconds": 601,
    "lxd.storagePool.name": "fast",
    "lxd.bridge.dhcpRange": "10.26.23.200-10.26.23.220",
    "k3s.version": "v1.25.7+k3s1",
    "k3s.installerUrl": "https://k3s.example",
    "k3s.artifactUrl": "https://k3s.example/releases",
    "k3s.apiPort": 6444,
    "k3s.timeoutSeconds": 601,
    "k3s.drainTimeoutSeconds": 121,
    "k3s.agentsAtOnce": 2,
    "k3s.agentTokenGeneration": 2,
    "k3s.snapshots.schedule": "0 3 * * *",
    "k3s.snapshots.keep": 3,
    "k3s.snapshots.restore": "on-demand-k3s1-1796000000",
    "k3s.snapshots.folder": "/var/backups/another",
    "k3s.snapshots.s3": {"bucket": "snapshots", "folder": "another"},
    "bgp.localAsn": 64513,
    "bgp.peerAsn": 64514,
    "bgp.pool": "10.26.23.64/27",
    "bgp.announcePodCidr": False,
    "bgp.holdTimeSeconds": 60,
    "bgp.keepaliveTimeSeconds": 15,
    "cilium.version": "1.13.4",
    "cilium.values": {"debug": {"enabled": True}},
    "cilium.timeoutSeconds": 901,
    "cilium.kubeProxyReplacement": True,
    "hubble.serviceType": "ClusterIP",
    "hubble.metrics": ["dns"],
    "hubble.ui": False,
    "hubble.relay": False,
    "hubble.enabled": False,
    "l7echo.enabled": True,
    "fcdemo.image": "registry.example/demo:1",
    "fcdemo.replicas": 2,
    "proof.timeoutSeconds": 301,
    "protect": True,
    "authorizedKeys": [KEY],
    "exposure.mode": "ngrok",
    "bgp.upstreams": {"lan": {"address": "198.51.100.1", "asn": 65001}},
    # From here on: a preview says of a forward that it may change with all that an address may change with.
    "exposure": {"mode": "forward", "cidrs": ["203.0.113.0/24"], "forwards": [FORWARD]},
    "fcdemo.enabled": False,
}
CONTROL_PLANE: dict[str, Any] = {
    "bgp.connectRetryTimeSeconds": 5,
    "bgp.gracefulRestart": True,
    "bgp.restartTimeSeconds": 40,
    "bgp.holdTimeSeconds": 60,
    "bgp.keepaliveTimeSeconds": 15,
    "bgp.localAsn": 64513,
    "bgp.pool": "10.26.23.64/27",
    "bgp.announcePodCidr": False,
    "cilium.kubeProxyReplacement": True,
    "bgp.mode": "configmap",
}
OF_THE_CONTROL_PLANE = ("bgp.gracefulRestart", "bgp.restartTimeSeconds", "bgp.connectRetryTimeSeconds")
ALSO: dict[str, dict[str, Any]] = {
    "lxd.image": {"lxd.loginUser": "debian"},
    "hubble.relay": {"hubble.ui": False},
    "hubble.enabled": {"hubble.ui": False, "hubble.relay": False},
    "l7echo.enabled": {"cilium.kubeProxyReplacement": True},
    "fcdemo.enabled": {"exposure": {"mode": "none"}},
    "bgp.upstreams": {"exposure": {"mode": "bgp", "cidrs": ["203.0.113.0/24"]}},
    "exposure": {"bgp.upstreams": None},
    "k3s.snapshots.schedule": {"k3s.snapshots.folder": "/var/backups/cilium-bgp"},
    "bgp.restartTimeSeconds": {"bgp.gracefulRestart": True},
    "bgp.mode": dict.fromkeys(OF_THE_CONTROL_PLANE),
}
"""What must go with it; None: not set any more."""
NOTHING_CHANGES = {"host.authorizedUsers", "lxd.image", "k3s.agentsAtOnce", "protect"}
"""Of what is there: they are for what is made or changed from now on."""
ELSEWHERE = {
    # test_machines.py and test_local.py
    "host": {"kind", "interfaces", "region", "image", "allowWorld", "address", "port", "user", "hostKey"},
    "lxd": {"loginUser"},  # with the image
    "lxd.storagePool": {"driver"},  # refused
    "lxd.bridge": {"name", "address"},  # refused: test_nodes_anew.py
    "nodes.NAME": {"role", "address", "generation"},  # test_nodes_anew.py; another role is refused
    "k3s": {"allowHttp", "clusterCidr", "serviceCidr"},  # refused
    "bgp": {"authentication"},  # it has one value
    "cilium": {"allowHttp", "chart"},
    "exposure": {"cidrs", "listenAddress", "forwards", "client"},
    "exposure.client": {"address", "port", "user", "hostKey"},
    "bgp.upstreams.NAME": {"address", "asn", "multihop", "announce", "communities", "acceptDefaultRoute"},
    "exposure.forwards[N]": set(FORWARD),
    "k3s.snapshots.s3": {"bucket", "endpoint", "region", "folder"},
    # test_keys.py, test_life.py, test_upstreams.py
    "": {"sshPrivateKey", "bgpPassword", "ngrokAuthtoken", "s3AccessKey", "s3SecretKey", "upstreamPasswords"},
}


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("control-plane")
    with pytest.MonkeyPatch.context() as monkeypatch, World(folder, monkeypatch) as stack:
        change(stack, "bgp.mode", "control-plane")
        change(stack, "k3s.version", "v1.30.2+k3s1")
        change(stack, "cilium.version", "1.16.19")
        yield stack


def change(stack: World, setting: str, value: object) -> None:
    root, *path = setting.split(".")
    if not path:
        stack.config[f"cilium-bgp:{root}"] = value
        return
    inner = stack.setting(root)
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    if value is None:
        del inner[path[-1]]


def is_as_foreseen(stack: World, setting: str, value: object) -> None:
    if stack.runs == 0:
        stack.up()
    for its, changed in {**ALSO.get(setting, {}), setting: value}.items():
        change(stack, its, changed)
    done = stack.as_foreseen()
    assert bool(done.operations) == (setting not in NOTHING_CHANGES), "is it a change?"
    replaced = [name for name, operation in done.operations.items() if operation == "replace"]
    assert not replaced or setting.startswith("lxd."), "what nodes to come are made of"


def test_every_setting_is_here_or_elsewhere() -> None:
    listed = {f"{path}.{key}".strip(".") for path, model in sections() for key in keys(model)}
    inner = {path for path, _ in sections()} | {path.partition("[")[0] for path, _ in sections()} | {"nodes"}
    named = {f"{path}.{key}".strip(".") for path, its in ELSEWHERE.items() for key in its}
    assert listed - inner == (named | CHANGES.keys() | CONTROL_PLANE.keys()) - inner


@pytest.mark.parametrize("setting", CHANGES)
def test_a_preview_says_what_up_does(stack: World, setting: str) -> None:
    is_as_foreseen(stack, setting, CHANGES[setting])


@pytest.mark.parametrize("setting", CONTROL_PLANE)
def test_a_preview_of_the_control_plane_says_what_up_does(control_plane: World, setting: str) -> None:
    is_as_foreseen(control_plane, setting, CONTROL_PLANE[setting])
