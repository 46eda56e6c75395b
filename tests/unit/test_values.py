"""The chart's values against the real charts: every key that is set exists there, with the type that it is set to."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cilium import CiliumArgs, chart_values, merged
from components.cilium_bgp import Bgp

CHARTS = Path(__file__).parents[3] / "shared/data/cilium-values"
CASES = [
    pytest.param(version, mode, envoy, replacement, id=f"{version}-{mode}{'-l7' * envoy}{'-kpr' * replacement}")
    for version, modes in {
        "1.13.0": ("configmap",),
        "1.16.19": ("configmap", "control-plane"),
        "1.18.12": ("control-plane",),
        "1.20.2": ("control-plane",),
    }.items()
    for mode in modes
    for envoy, replacement in ((False, False), (False, True), (True, True))
]
ANNOTATIONS = {"cilium-bgp/bgp-config": "0123456789abcdef"}
UNLISTED = {
    # Commented out in the chart's values; its templates read them (cilium-configmap.yaml).
    "1.13.0": {"kubeProxyReplacement", "k8sServiceHost"},
    "1.16.19": {"kubeProxyReplacement", "k8sServiceHost"},
}
BGP: Bgp = {
    "local_asn": 64512,
    "peer_asn": 64512,
    "peer_address": "10.26.23.1",
    "pool": "10.26.23.32/27",
    "announce_pod_cidr": True,
    "password": "s3cret",
    "hold_time_seconds": 90,
    "keepalive_time_seconds": 30,
    "connect_retry_time_seconds": 10,
    "restart_time_seconds": 30,
    "graceful_restart": False,
}


def set_values(version: str, mode: Any, envoy: bool, replacement: bool, **further: Any) -> dict[str, Any]:
    server: Any = None  # the values know no machine
    args: CiliumArgs = {
        "version": version,
        "chart": "https://helm.cilium.io",
        "mode": mode,
        "bgp": BGP,
        "hubble": {
            "enabled": True,
            "relay": True,
            "ui": True,
            "service_type": "LoadBalancer",
            "metrics": ["dns", "http"],
        },
        "cluster_cidr": "10.42.0.0/16",
        "kube_proxy_replacement": replacement,
        "envoy": envoy,
        "values_secret": False,
        "values": further,
        "nodes": 3,
        "server": server,
        "joined": [],
        "again": [],
        "timeout_seconds": 900,
    }
    return chart_values(args, ANNOTATIONS)


@cache
def defaults(version: str) -> dict[str, Any]:
    return read(f"{version}.yaml")


def read(name: str) -> dict[str, Any]:
    path = CHARTS / name
    if not path.exists():
        pytest.skip(f"the chart's {name} is not here: it is kept beside the repository, not in it")
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is set, by its path; what a chart leaves free (annotations) is one value."""
    for key, item in value.items():
        path = f"{above}{key}"
        if isinstance(item, Mapping) and not key.endswith("Annotations"):
            yield from leaves(item, f"{path}.")
        else:
            yield path, item


def found(path: str, chart: Any) -> Any:
    for key in path.split("."):
        if not isinstance(chart, Mapping) or key not in chart:
            raise KeyError(path)
        chart = chart[key]
    return chart


@pytest.mark.parametrize(("version", "mode", "envoy", "replacement"), CASES)
def test_every_key_exists_in_the_chart(version: str, mode: str, envoy: bool, replacement: bool) -> None:
    chart = defaults(version)
    ours = dict(leaves(set_values(version, mode, envoy, replacement)))
    assert len(ours) > 10
    for path, value in ours.items():
        if path in UNLISTED.get(version, ()):
            assert f"{path}:" in (CHARTS / f"{version}.yaml").read_text(), path
            continue
        default = found(path, chart)
        if default in (None, "") or path == "kubeProxyReplacement":
            continue  # any type: the schema, where there is one, says which
        assert type(default) is type(value), f"{path}: {value!r} instead of {default!r}"


JSON_TYPES = {"string": str, "boolean": bool, "integer": int, "object": Mapping, "array": list, "null": type(None)}


@pytest.mark.parametrize(("version", "mode", "envoy", "replacement"), CASES)
def test_the_charts_schema_takes_every_value(version: str, mode: str, envoy: bool, replacement: bool) -> None:
    if version == "1.13.0":
        pytest.skip("the chart of Cilium 1.13 has no schema")
    schema = read(f"{version}.schema.json")

    def check(value: Any, schema: Mapping[str, Any], path: str) -> int:
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        assert not types or any(
            isinstance(value, JSON_TYPES[name]) and (name != "integer" or not isinstance(value, bool)) for name in types
        ), f"{path}: {value!r} is none of {types}"
        if "enum" in schema:
            assert value in schema["enum"], f"{path}: {value!r}"
        if not isinstance(value, Mapping):
            return 1
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is False:
            assert value.keys() <= properties.keys(), path
        return sum(check(item, properties[key], f"{path}.{key}") for key, item in value.items() if key in properties)

    assert check(set_values(version, mode, envoy, replacement), schema, "values") > 10


@pytest.mark.parametrize("version", ["1.18.12", "1.20.2"])
def test_the_check_itself_sees_what_a_chart_does_not_have(version: str) -> None:
    chart = defaults(version)
    with pytest.raises(KeyError, match=r"bgp\.enabled"):
        found("bgp.enabled", chart)  # gone with 1.17


@pytest.mark.parametrize("version", ["1.13.0", "1.20.2"])
def test_the_pods_range_is_not_the_charts_own_which_contains_the_bridge(version: str) -> None:
    operator = found("ipam.operator", defaults(version))
    # 1.13 has the older key too, which counts only while the list is empty
    assert "10.0.0.0/8" in (*operator["clusterPoolIPv4PodCIDRList"], operator.get("clusterPoolIPv4PodCIDR"))
    ours = set_values(version, "control-plane", False, False)["ipam"]
    assert ours == {"operator": {"clusterPoolIPv4PodCIDRList": ["10.42.0.0/16"]}}


@pytest.mark.parametrize(
    ("below", "above", "both"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 3}}}, {"a": {"b": {"c": 1, "d": 3}}}),
    ],
)
def test_merging_is_helms(below: dict[str, Any], above: dict[str, Any], both: dict[str, Any]) -> None:
    assert merged(below, above) == both


def test_further_values_win_over_ours() -> None:
    its = set_values("1.13.0", "configmap", False, False, sctp={"enabled": False}, debug={"enabled": True})
    assert its["sctp"] == {"enabled": False}
    assert its["debug"] == {"enabled": True}
