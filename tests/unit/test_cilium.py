"""Cilium's release in both modes: what is created, in what order, and with which secrets."""

from typing import Any

import pytest
import yaml

from components.ownership import OURS
from tests.unit.graph import (
    BGP_PASSWORD,
    CANARIES,
    SSH_KEY,
    Graph,
    Secret,
    dev,
    plain,
    program,
    registered,
    stack,
    strings,
    values,
)

ANNOTATION = "cilium-bgp/bgp-config"
CONTROL_PLANE = {"mode": "control-plane"}
VERSIONS = {
    "1.16.19": "v1.30.6+k3s1",
    "1.17.5": "v1.32.1+k3s1",
    "1.18.12": "v1.33.4+k3s1",
    "1.20.2": "v1.36.2+k3s1",
}
KINDS = ("ciliumloadbalancerippool", "ciliumbgpadvertisement", "ciliumbgppeerconfig", "ciliumbgpclusterconfig")


def control_plane(cilium: str = "1.18.12", **bgp: Any) -> Graph:
    return stack(values(bgp=CONTROL_PLANE | bgp, cilium={"version": cilium}, k3s={"version": VERSIONS[cilium]}))


def bgp_config(its: Graph) -> Any:
    return yaml.safe_load(plain(its["cilium-bgp-config"].inputs["data"])["config.yaml"])


def test_the_configmap_is_the_articles() -> None:
    config = dev()["cilium-bgp-config"]
    assert config.type == "kubernetes:core/v1:ConfigMap"
    assert config.inputs["metadata"] == {"name": "bgp-config", "namespace": "kube-system", "labels": OURS}
    assert set(config.inputs["data"]) == {"config.yaml"}
    assert bgp_config(dev()) == {
        "peers": [{"peer-address": "10.26.23.1", "peer-asn": 64512, "my-asn": 64512, "password": BGP_PASSWORD}],
        "address-pools": [{"name": "default", "protocol": "bgp", "addresses": ["10.26.23.32/27"]}],
    }


def test_the_configmap_knows_both_sides_the_hold_time_and_the_password() -> None:
    bgp = {"localAsn": 65001, "peerAsn": 65000, "holdTimeSeconds": 9, "keepaliveTimeSeconds": 3}
    its = stack(values(bgp=bgp))
    assert bgp_config(its)["peers"] == [
        {
            "peer-address": "10.26.23.1",
            "peer-asn": 65000,
            "my-asn": 65001,
            "hold-time": "9s",
            "password": BGP_PASSWORD,
        }
    ]
    data = its["cilium-bgp-config"].inputs["data"]
    assert isinstance(data, Secret) or isinstance(data["config.yaml"], Secret)


def test_the_configmap_comes_after_the_router_and_before_the_release() -> None:
    release = dev()["cilium-release"]
    assert dev()["cilium-bgp-config"].urn in release.dependencies
    assert "router-frr" in dev().before(dev()["cilium-bgp-config"])


def test_the_release_is_the_articles() -> None:
    release = dev()["cilium-release"]
    assert release.type == "kubernetes:helm.sh/v3:Release"
    asked = dict(release.inputs)
    checksum = asked["values"]["podAnnotations"][ANNOTATION]
    assert asked.pop("compat") == "true"  # the SDK's own
    assert asked == {
        "name": "cilium",
        "namespace": "kube-system",
        "chart": "cilium",
        "repositoryOpts": {"repo": "https://helm.cilium.io"},
        "version": "1.13.0",
        "timeout": 900,
        "skipAwait": True,
        "values": {
            "bgp": {"enabled": True, "announce": {"loadbalancerIP": True, "podCIDR": True}},
            "sctp": {"enabled": True},
            "hubble": {
                "enabled": True,
                "metrics": {"enabled": ["dns", "drop", "tcp", "flow", "icmp", "http"]},
                "relay": {"enabled": True, "rollOutPods": True, "service": {"type": "LoadBalancer"}},
                "ui": {"enabled": True, "rollOutPods": True, "service": {"type": "LoadBalancer"}},
            },
            "ipam": {"operator": {"clusterPoolIPv4PodCIDRList": ["10.42.0.0/16"]}},
            "podAnnotations": {ANNOTATION: checksum},
            "operator": {"rollOutPods": True, "replicas": 2, "podAnnotations": {ANNOTATION: checksum}},
            "rollOutCiliumPods": True,
        },
    }


def test_what_helm_would_refuse_is_forgotten_before_each_operation() -> None:
    hooks = {"before_create": ["cilium-before-create"], "before_update": ["cilium-before-update"]}
    assert dev()["cilium-release"].hooks == hooks
    assert {its.name for its in dev() if its.hooks.keys() & hooks.keys() and "-k3s-" not in its.name} == {
        "cilium-release",
        "cilium-bgp-config",
        "fcdemo-deployment",
        "fcdemo-service",
    }


def test_pods_carry_a_checksum_of_the_configuration_that_gives_nothing_away() -> None:
    def checksum(its: Graph) -> str:
        found: str = its["cilium-release"].inputs["values"]["podAnnotations"][ANNOTATION]
        return found

    seen = {checksum(stack(values(bgp=change))) for change in ({}, {"pool": "10.26.23.64/27"}, {"peerAsn": 65000})}
    assert len(seen) == 3, "another configuration restarts the agents"
    assert checksum(dev()) in seen, "the same does not"
    assert not [value for value in seen if any(canary in value for canary in CANARIES)]


def test_another_password_is_another_checksum() -> None:
    checksums = [
        stack(values(), {"sshPrivateKey": SSH_KEY, "bgpPassword": password})["cilium-release"].inputs["values"][
            "podAnnotations"
        ][ANNOTATION]
        for password in ("one", "two")
    ]
    assert checksums[0] != checksums[1]


def test_a_secret_among_the_values_stays_one() -> None:
    further = {"values": {"extraEnv": [{"name": "TOKEN", "value": "canary"}]}}
    graph = registered(program(values(cilium=further), holding=["cilium"]))
    assert isinstance(graph["cilium-release"].inputs["values"], Secret)
    assert "canary" in "".join(strings(graph["cilium-release"].inputs, secret_too=True))
    for resource in graph:
        assert not [text for text in strings(resource.inputs, secret_too=False) if "canary" in text], resource.name
    assert not isinstance(dev()["cilium-release"].inputs["values"], Secret), "or no preview would show them"


@pytest.mark.parametrize(
    ("chart", "asked"),
    [
        (
            "https://charts.example/cilium",
            {"chart": "cilium", "repositoryOpts": {"repo": "https://charts.example/cilium"}},
        ),
        ("oci://registry.example/charts/cilium", {"chart": "oci://registry.example/charts/cilium"}),
        ("./charts/cilium-1.13.0.tgz", {"chart": "./charts/cilium-1.13.0.tgz"}),
    ],
)
def test_the_chart_comes_from_a_repository_a_registry_or_a_file(chart: str, asked: dict[str, Any]) -> None:
    inputs = stack(values(cilium={"chart": chart}))["cilium-release"].inputs
    assert {key: inputs[key] for key in ("chart", "repositoryOpts") if key in inputs} == asked


def test_further_values_win_and_are_merged_as_helm_does() -> None:
    further = {"hubble": {"metrics": {"enabled": ["dns"]}, "ui": {"replicas": 2}}, "debug": {"enabled": True}}
    its = stack(values(cilium={"values": further}))["cilium-release"].inputs["values"]
    assert its["hubble"]["metrics"] == {"enabled": ["dns"]}
    assert its["hubble"]["ui"].items() >= {"enabled": True, "service": {"type": "LoadBalancer"}, "replicas": 2}.items()
    assert its["debug"] == {"enabled": True}
    assert its["sctp"] == {"enabled": True}


def test_ready_waits_for_every_node_and_workload_of_this_revision() -> None:
    ready = dev()["cilium-ready"]
    ran = ready.ran()
    assert ran.file == "cilium_ready.sh"
    limit, revision, nodes, *workloads = ran.parameters
    assert (limit, revision, nodes) == ("900", "1", "k3s1 k3s2 k3s3")
    assert workloads == [
        "daemonset/cilium",
        "deployment/cilium-operator",
        "deployment/hubble-relay",
        "deployment/hubble-ui",
    ]
    assert ran.seconds > 900
    assert {"cilium-release", "k3s2-joined", "k3s3-joined"} <= dev().before(ready)


AGENTS = ["daemonset/cilium", "deployment/cilium-operator"]
ENVOY, RELAY, UI = "daemonset/cilium-envoy", "deployment/hubble-relay", "deployment/hubble-ui"


@pytest.mark.parametrize(
    ("cilium", "hubble", "further", "awaited"),
    [
        ("1.13.0", {}, {}, [*AGENTS, RELAY, UI]),
        ("1.13.0", {"ui": False}, {}, [*AGENTS, RELAY]),
        ("1.13.0", {"enabled": False, "relay": False, "ui": False}, {}, AGENTS),
        ("1.14.19", {}, {}, [*AGENTS, RELAY, UI]),
        ("1.14.19", {}, {"envoy": {"enabled": True}}, [*AGENTS, ENVOY, RELAY, UI]),
        ("1.16.19", {}, {}, [*AGENTS, ENVOY, RELAY, UI]),
        ("1.20.2", {}, {}, [*AGENTS, ENVOY, RELAY, UI]),
        ("1.16.19", {}, {"upgradeCompatibility": "1.15"}, [*AGENTS, RELAY, UI]),
        ("1.16.19", {}, {"envoy": {"enabled": False}}, [*AGENTS, RELAY, UI]),
        ("1.16.19", {}, {"l7Proxy": False}, [*AGENTS, RELAY, UI]),
        ("1.16.19", {}, {"hubble": {"ui": {"enabled": False}}}, [*AGENTS, ENVOY, RELAY]),
        ("1.16.19", {}, {"hubble": {"relay": {"enabled": False}, "ui": {"enabled": False}}}, [*AGENTS, ENVOY]),
        ("1.16.19", {"ui": False}, {"hubble": {"ui": {"enabled": True}}}, [*AGENTS, ENVOY, RELAY, UI]),
        ("1.16.19", {}, {"hubble": {"enabled": False}}, [*AGENTS, ENVOY]),
        ("1.16.19", {}, {"hubble": {"enabled": False, "ui": {"standalone": {"enabled": True}}}}, [*AGENTS, ENVOY, UI]),
        ("1.16.19", {}, {"operator": {"enabled": False}, "agent": False}, [ENVOY, RELAY, UI]),
    ],
)
def test_ready_waits_for_what_the_chart_runs_and_for_nothing_else(
    cilium: str, hubble: dict[str, Any], further: dict[str, Any], awaited: list[str]
) -> None:
    mode = "configmap" if cilium < "1.17" else "control-plane"
    k3s = {"version": VERSIONS.get(cilium, "v1.26.0+k3s1")}
    its = stack(
        values(cilium={"version": cilium, "values": further}, k3s=k3s, hubble=hubble, bgp={"mode": mode}),
    )
    assert list(its["cilium-ready"].ran().parameters[3:]) == awaited
    shown = [name.removeprefix("kube-system/") for name in its["proof-addresses"].ran().parameters[3:-1]]
    assert shown == [workload.partition("/")[2] for workload in awaited if workload in (RELAY, UI)]


def test_relay_ui_and_envoy_are_rolled_out_when_their_configuration_changes() -> None:
    chart = control_plane()["cilium-release"].inputs["values"]
    assert (chart["hubble"]["relay"]["rollOutPods"], chart["hubble"]["ui"]["rollOutPods"]) == (True, True)
    assert chart["envoy"] == {"rollOutPods": True}


@pytest.mark.parametrize(("nodes", "replicas"), [(1, 1), (2, 2), (3, 2)])
def test_there_are_no_more_operators_than_nodes_to_run_them(nodes: int, replicas: int) -> None:
    names = {f"k3s{n}": {"role": "agent" if n else "server", "address": f"10.26.23.{11 + n}"} for n in range(nodes)}
    assert stack(values(nodes=names))["cilium-release"].inputs["values"]["operator"]["replicas"] == replicas


def test_it_says_what_is_ready_on_which_nodes() -> None:
    assert dev().outputs_of("cilium")["ready"].startswith("revision 1 on k3s1 k3s2 k3s3: daemonset/cilium")


def test_configmap_mode_has_nothing_of_the_control_plane() -> None:
    assert set(dev().children("cilium")) == {"cilium-bgp-config", "cilium-release", "cilium-ready", "cilium-running"}
    assert "bgpControlPlane" not in dev()["cilium-release"].inputs["values"]


@pytest.mark.parametrize(
    ("cilium", "api_version"),
    [
        ("1.16.19", "cilium.io/v2alpha1"),
        ("1.17.5", "cilium.io/v2alpha1"),
        ("1.18.12", "cilium.io/v2"),
        ("1.20.2", "cilium.io/v2"),
    ],
)
def test_the_control_planes_objects(cilium: str, api_version: str) -> None:
    its = control_plane(cilium)
    metadata = {"name": "cilium-bgp", "labels": {"advertise": "cilium-bgp", **OURS}}
    specs = {
        "CiliumLoadBalancerIPPool": {"blocks": [{"cidr": "10.26.23.32/27"}], "allowFirstLastIPs": "Yes"},
        "CiliumBGPAdvertisement": {
            "advertisements": [
                {
                    "advertisementType": "Service",
                    "service": {"addresses": ["LoadBalancerIP"]},
                    "selector": {
                        "matchExpressions": [{"key": "cilium-bgp/never", "operator": "NotIn", "values": ["true"]}]
                    },
                },
                {"advertisementType": "PodCIDR"},
            ]
        },
        "CiliumBGPPeerConfig": {
            "timers": {"connectRetryTimeSeconds": 10, "holdTimeSeconds": 90, "keepAliveTimeSeconds": 30},
            "gracefulRestart": {"enabled": False},
            "families": [
                {"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": "cilium-bgp"}}}
            ],
            "authSecretRef": "cilium-bgp-auth",
            "ebgpMultihop": 255,
        },
        "CiliumBGPClusterConfig": {
            "bgpInstances": [
                {
                    "name": "cilium-bgp",
                    "localASN": 64512,
                    "peers": [
                        {
                            "name": "host",
                            "peerASN": 64512,
                            "peerAddress": "10.26.23.1",
                            "peerConfigRef": {"name": "cilium-bgp"},
                        }
                    ],
                }
            ]
        },
    }
    for kind, spec in specs.items():
        resource = its[f"cilium-{kind.lower()}"]
        assert resource.type == f"kubernetes:{api_version}:{kind}"
        assert resource.inputs == {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def test_the_control_plane_has_no_configmap_and_no_legacy_values() -> None:
    its = control_plane()
    assert set(its.children("cilium")) == {
        "cilium-release",
        "cilium-crds",
        "cilium-bgp-auth",
        "cilium-ready",
        "cilium-running",
        *(f"cilium-{kind}" for kind in KINDS),
    }
    chart = its["cilium-release"].inputs["values"]
    assert chart["bgpControlPlane"] == {"enabled": True}
    assert "bgp" not in chart
    assert "podAnnotations" not in chart
    assert chart["operator"] == {"rollOutPods": True, "replicas": 2}


def test_the_control_planes_order_is_release_kinds_objects_and_the_cluster_last() -> None:
    its = control_plane()
    crds = its["cilium-crds"]
    assert its["cilium-release"].urn in crds.dependencies
    for kind in KINDS:
        assert crds.urn in its[f"cilium-{kind}"].dependencies
    first = {"cilium-bgp-auth", *(f"cilium-{kind}" for kind in KINDS[:3])}
    assert first <= its.before(its["cilium-ciliumbgpclusterconfig"])
    assert "cilium-ciliumbgpclusterconfig" in its.before(its["cilium-ready"])
    assert "router-frr" in its.before(its["cilium-ciliumbgpclusterconfig"])


def test_the_gate_waits_for_each_kind_in_the_version_that_is_wanted() -> None:
    ran = control_plane()["cilium-crds"].ran()
    limit, version, *kinds = ran.parameters
    assert (ran.file, limit, version) == ("crds_established.sh", "900", "cilium.io/v2")
    assert control_plane("1.17.5")["cilium-crds"].ran().parameters[1] == "cilium.io/v2alpha1"
    assert kinds == [
        "ciliumbgpclusterconfigs",
        "ciliumbgppeerconfigs",
        "ciliumbgpadvertisements",
        "ciliumloadbalancerippools",
    ]
    assert ran.seconds > 4 * 900, "it waits so long for each"
    assert control_plane("1.20.2")["cilium-crds"].inputs["stdin"] != control_plane()["cilium-crds"].inputs["stdin"]


@pytest.mark.parametrize("cilium", ["1.16.19", "1.17.5", "1.18.12", "1.20.2"])
def test_another_api_version_is_the_same_object(cilium: str) -> None:
    its = control_plane(cilium)
    for kind in KINDS:
        resource = its[f"cilium-{kind}"]
        spelt = resource.type.rpartition(":")[2]
        versions = {f"kubernetes:{version}:{spelt}" for version in ("cilium.io/v2alpha1", "cilium.io/v2")}
        assert versions <= {resource.type, *resource.alias_types}


def test_the_control_planes_password_is_a_secret_that_the_peer_refers_to() -> None:
    its = control_plane()
    auth = its["cilium-bgp-auth"]
    assert auth.type == "kubernetes:core/v1:Secret"
    assert auth.inputs["metadata"] == {"name": "cilium-bgp-auth", "namespace": "kube-system", "labels": OURS}
    assert auth.inputs["stringData"] == Secret({"password": BGP_PASSWORD})
    assert its["cilium-ciliumbgppeerconfig"].inputs["spec"]["authSecretRef"] == "cilium-bgp-auth"
    assert BGP_PASSWORD not in "".join(strings(its["cilium-ciliumbgppeerconfig"].inputs, secret_too=True))


def test_the_control_planes_settings_reach_it() -> None:
    its = control_plane(
        localAsn=65001,
        peerAsn=65000,
        holdTimeSeconds=9,
        keepaliveTimeSeconds=3,
        connectRetryTimeSeconds=5,
        gracefulRestart=True,
        restartTimeSeconds=20,
        announcePodCidr=False,
    )
    peer = its["cilium-ciliumbgppeerconfig"].inputs["spec"]
    assert peer["timers"] == {"connectRetryTimeSeconds": 5, "holdTimeSeconds": 9, "keepAliveTimeSeconds": 3}
    assert peer["gracefulRestart"] == {"enabled": True, "restartTimeSeconds": 20}
    (instance,) = its["cilium-ciliumbgpclusterconfig"].inputs["spec"]["bgpInstances"]
    assert (instance["localASN"], instance["peers"][0]["peerASN"]) == (65001, 65000)
    kinds = [one["advertisementType"] for one in its["cilium-ciliumbgpadvertisement"].inputs["spec"]["advertisements"]]
    assert kinds == ["Service"]
