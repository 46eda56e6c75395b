"""What is known of Cilium's releases, against their own sources where a Go module has them, and what is said of those
that have ended."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import settings
from components import cilium_bgp
from components.cilium_bgp import Bgp
from settings import versions
from settings.checks import ended
from tests.unit.graph import SSH_KEY

ROOT = Path(__file__).parents[2]


def modules() -> list[Path]:
    """The sources of Cilium that the Go module cache has: `make lab` brings those that it builds."""
    cache = os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH", Path.home() / "go")) / "pkg" / "mod"
    return sorted(Path(cache).glob("github.com/cilium/cilium@v*"))


def release(module: Path) -> str:
    return module.name.rpartition("@v")[2]


SOURCES: list[Path | None] = [*modules()] or [None]


@pytest.fixture(params=SOURCES, ids=lambda module: module.name if module else "none")
def module(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("the Go module cache has no github.com/cilium/cilium: the lab's build brings it")
    found: Path = request.param
    return found


def test_the_tested_kubernetes_are_those_of_ciliums_own_page(module: Path) -> None:
    page = (module / "Documentation/network/kubernetes/compatibility.rst").read_text()
    row = next(line for line in page.splitlines() if re.match(r"\| \d+\.\d+, ", line))
    listed = [versions.minor(f"{found}.0") for found in re.findall(r"\d+\.\d+", row)]
    tested = versions.tested(release(module))
    assert tested is not None
    assert (tested.oldest, tested.newest) == (listed[0], listed[-1])


def test_the_metrics_are_those_that_the_agent_registers(module: Path) -> None:
    plugins = "".join(file.read_text() for file in (module / "pkg/hubble/metrics").glob("*/plugin.go"))
    registered = set(re.findall(r'DefaultRegistry\(\)\.Register\("([^"]+)"', plugins))
    cilium = versions.minor(release(module))
    assert registered == {name for name in versions.HUBBLE_METRICS if versions.has_metric(cilium, name)}
    conflicts = set(re.findall(r'ConflictingPlugins\(\) \[\]string \{\s*return \[\]string\{"([^"]+)"\}', plugins))
    assert conflicts == set(versions.EXCLUSIVE_METRICS)


BGP: Bgp = {
    "local_asn": 4200000000,
    "peer_asn": 64512,
    "peer_address": "10.26.23.1",
    "pool": "10.26.23.32/27",
    "announce_pod_cidr": True,
    "password": "secret",
    "hold_time_seconds": 3,
    "keepalive_time_seconds": 1,
    "connect_retry_time_seconds": 1,
    "graceful_restart": True,
    "restart_time_seconds": 4095,
}
SPECS = {
    "ciliumbgppeerconfigs": cilium_bgp.peer_config,
    "ciliumbgpclusterconfigs": cilium_bgp.cluster_config,
    "ciliumbgpadvertisements": cilium_bgp.advertisement,
    "ciliumloadbalancerippools": cilium_bgp.ip_pool,
}


@pytest.mark.parametrize("plural", SPECS)
def test_the_api_server_takes_our_objects_as_they_are(module: Path, plural: str) -> None:
    if not versions.has_mode(versions.minor(release(module)), "control-plane"):
        pytest.skip("this Cilium gets its BGP by ConfigMap")
    version = cilium_bgp.api_version(release(module)).rpartition("/")[2]
    file = module / "pkg/k8s/apis/cilium.io/client/crds" / version / f"{plural}.yaml"
    (served,) = (its for its in yaml.safe_load(file.read_text())["spec"]["versions"] if its["name"] == version)
    schema = served["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(refused(SPECS[plural](BGP), schema)) == []
    assert list(refused({"other": 1}, schema))


def refused(value: Any, schema: Mapping[str, Any], path: str = "spec") -> Iterator[str]:
    """What such a schema does not take, or would silently leave out."""
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if not isinstance(value, types[schema["type"]]):
        yield f"{path}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from (f"{path}.{key}: missing" for key in schema.get("required", []) if key not in value)
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            yield from refused(item, inner, f"{path}.{key}") if inner else [f"{path}.{key}: unknown"]
    elif isinstance(value, list):
        for item in value:
            yield from refused(item, schema["items"], f"{path}[]")
    else:
        if value not in schema.get("enum", [value]):
            yield f"{path}: {value!r} is none of {schema['enum']}"
        if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: {value} is out of bounds"


@pytest.mark.parametrize(
    ("cilium", "kubernetes"),
    [
        ("1.13.0", "1.16 to 1.26"),
        ("1.14.19", "1.19 to 1.27"),
        ("1.19.1", "1.31 to 1.34"),
        ("1.19.2", "1.32 to 1.34"),
        ("1.19.3", "1.32 to 1.35"),
        ("1.19.8", "1.32 to 1.35"),
        ("1.20.2", "1.33 to 1.36"),
        ("1.21.0", "None"),
    ],
)
def test_what_a_release_is_tested_with(cilium: str, kubernetes: str) -> None:
    assert str(versions.tested(cilium)) == kubernetes


@pytest.mark.parametrize(
    ("kubernetes", "ciliums"),
    [((1, 25), ["1.13", "1.14"]), ((1, 31), ["1.17", "1.18"]), ((1, 35), ["1.19.3 or later", "1.20"]), ((1, 40), [])],
)
def test_who_is_tested_with_a_kubernetes(kubernetes: versions.Minor, ciliums: list[str]) -> None:
    assert [said for _, said in versions.tested_with(kubernetes)] == ciliums


@pytest.mark.parametrize(("stack", "keys"), [("dev", ["cilium.version", "k3s.version"]), ("modern", [])])
def test_a_shipped_stack_says_which_of_its_versions_have_ended(stack: str, keys: list[str]) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {key.removeprefix("cilium-bgp:"): value for key, value in config.items()}
    values["host"]["adminCidrs"] = ["203.0.113.7/32"]
    secrets = {"sshPrivateKey": SSH_KEY} | ({"bgpPassword": "x"} if stack == "modern" else {})
    assert [text.partition(":")[0] for text in ended(settings.parse(values, secrets))] == keys


def test_it_says_what_is_still_mended() -> None:
    values = {
        "host": {"kind": "linode", "adminCidrs": ["203.0.113.7/32"]},
        "nodes": {"k3s1": {"role": "server", "address": "10.26.23.11"}},
        "cilium": {"version": "1.18.12"},
        "bgp": {"mode": "control-plane"},
        "k3s": {"version": "v1.33.4+k3s1"},
    }
    assert list(ended(settings.parse(values, {"sshPrivateKey": SSH_KEY}))) == [
        "k3s.version: v1.33.4+k3s1 is Kubernetes 1.33, which has ended: nobody mends it any more, security included "
        "(Kubernetes 1.35 and later are mended, November 2026). Pulumi.modern.yaml has a pair that is."
    ]
