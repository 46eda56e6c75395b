"""k3s on the nodes: who comes when, with what configuration."""

import json
from typing import Any

import pytest

from tests.unit.graph import HOST_ADDRESS, JOIN_TOKEN, KUBECONFIG, Graph, Secret, dev, plain, stack, values

SERVERS = {f"s{number}": {"role": "server", "address": f"10.26.23.{10 + number}"} for number in (1, 2, 3)}
AGENTS = {f"a{number}": {"role": "agent", "address": f"10.26.23.{20 + number}"} for number in (1, 2)}
LARGE = values(nodes={**AGENTS, **SERVERS})


def config(its: Graph, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plain(its[name].inputs["stdin"]))
    return found


def test_the_first_server_starts_a_cluster_without_a_network_of_its_own() -> None:
    assert config(dev(), "k3s1-k3s-server") == {
        "node-name": "k3s1",
        "node-ip": "10.26.23.11",
        "flannel-backend": "none",
        "disable-network-policy": True,
        "disable": ["servicelb"],
        "disable-kube-proxy": False,
        "cluster-cidr": "10.42.0.0/16",
        "service-cidr": "10.43.0.0/16",
        "tls-san": [HOST_ADDRESS, "10.26.23.11"],
        "secrets-encryption": True,
        "cluster-init": False,
    }


@pytest.mark.parametrize(("name", "address"), [("k3s2", "10.26.23.12"), ("k3s3", "10.26.23.13")])
def test_an_agent_joins_with_the_token_which_is_secret(name: str, address: str) -> None:
    assert config(dev(), f"{name}-k3s-agent") == {
        "node-name": name,
        "node-ip": address,
        "server": "https://10.26.23.11:6443",
        "token": JOIN_TOKEN,
    }
    assert isinstance(dev()[f"{name}-k3s-agent"].inputs["stdin"], Secret)


@pytest.mark.parametrize(("name", "role"), [("k3s1", "server"), ("k3s2", "agent"), ("k3s3", "agent")])
def test_the_installer_is_the_official_one_at_the_articles_version(name: str, role: str) -> None:
    ran = dev()[f"{name}-k3s-{role}"].ran()
    assert ran.file == "k3s_install.sh"
    assert ran.parameters == (role, "v1.25.6+k3s1", "https://get.k3s.io", "", "600")
    assert ran.seconds == 1800, "it may wait three times"
    assert ran.sudo


def test_a_mirror_is_configured() -> None:
    k3s = {"installerUrl": "https://mirror.example/k3s", "artifactUrl": "https://mirror.example/artifacts"}
    parameters = stack(values(k3s=k3s))["k3s2-k3s-agent"].ran().parameters
    assert parameters[2:4] == ("https://mirror.example/k3s", "https://mirror.example/artifacts")


@pytest.mark.parametrize("name", ["k3s1", "k3s2", "k3s3"])
def test_a_node_mounts_what_its_agents_need_before_k3s_and_all_dies_with_its_instance(name: str) -> None:
    mounts = dev()[f"{name}-mounts"]
    assert mounts.ran().file == "node_prepare.sh"
    (k3s,) = (its for its in dev() if its.name.startswith(f"{name}-k3s-"))
    assert mounts.urn in k3s.dependencies
    for its in (mounts, k3s):
        assert its.deleted_with == dev()[f"{name}-identity"].urn
        assert "delete" not in its.inputs, "it dies with the instance"


def test_agents_come_after_the_server_and_not_after_each_other() -> None:
    before = dev().before(dev()["k3s3-k3s-agent"])
    assert {"k3s1-k3s-server", "k3s-token"} <= before
    assert not {name for name in before if name.startswith("k3s2")}


def test_a_member_that_leaves_is_drained_by_the_first_server() -> None:
    joined = dev()["k3s2-joined"]
    assert (joined.ran().file, joined.ran().parameters) == ("node_joined.sh", ("k3s2", "600"))
    assert joined.ran().seconds > 600
    assert plain(joined.inputs["connection"])["host"] == "10.26.23.11"
    assert joined.deleted_with == dev()["k3s1-identity"].urn, "a cluster whose server is gone drains nobody"
    removal = dev()["k3s2-finalizer"]
    assert (removal.ran("command").file, removal.ran("command").parameters) == ("node_remove.sh", ("k3s2",))
    assert removal.inputs["subject"] == dev()["k3s2-joined"].inputs["stdin"]
    assert removal.property_dependencies["subject"] == {dev()["k3s2-identity"].urn}, "drained before its instance goes"
    assert removal.urn in dev()["k3s2-k3s-agent"].dependencies, "and before another one joins under its name"
    assert removal.deleted_with == dev()["k3s1-identity"].urn
    assert "k3s1-joined" not in {its.name for its in dev()}


@pytest.mark.parametrize(("name", "script"), [("k3s-token", "k3s_token.sh"), ("k3s-kubeconfig", "k3s_kubeconfig.sh")])
def test_what_the_server_tells_is_secret_and_never_logged(name: str, script: str) -> None:
    its = dev()[name]
    assert its.ran().file == script
    assert "stdout" in its.additional_secret_outputs
    assert its.inputs["logging"] == "none"
    assert its.inputs["addPreviousOutputInEnv"] is False
    assert "k3s1-k3s-server" in dev().before(its)
    assert its.deleted_with == dev()["k3s1-identity"].urn


def test_the_kubeconfig_leads_to_the_api_through_the_host() -> None:
    assert dev()["k3s-kubeconfig"].ran().parameters == (f"https://{HOST_ADDRESS}:6443", "ubuntu")
    assert dev().outputs["kubeconfig"] == Secret(KUBECONFIG)
    assert dev().outputs["kube_api"] == f"https://{HOST_ADDRESS}:6443"


def test_the_provider_is_of_this_cluster_whatever_the_kubeconfig_says() -> None:
    provider = dev()["k3s-provider"]
    assert provider.type == "pulumi:providers:kubernetes"
    assert provider.inputs["kubeconfig"] == Secret(KUBECONFIG)
    # another MAC address is another instance, with another cluster
    assert provider.inputs["clusterIdentifier"] == "00:16:3e:00:00:0b"
    assert (provider.inputs["enableConfigMapMutable"], provider.inputs["enableSecretMutable"]) == ("true", "true")


def test_kube_proxy_is_off_where_cilium_replaces_it() -> None:
    assert config(stack(values(cilium={"kubeProxyReplacement": True})), "k3s1-k3s-server")["disable-kube-proxy"] is True


def test_several_servers_join_one_after_the_other_and_agents_after_all_of_them() -> None:
    its = stack(LARGE)
    assert config(its, "s1-k3s-server")["cluster-init"] is True
    for name in ("s2", "s3"):
        joins = config(its, f"{name}-k3s-server")
        assert (joins["server"], joins["token"], joins["cluster-init"]) == (
            "https://10.26.23.11:6443",
            JOIN_TOKEN,
            False,
        )
        assert joins["flannel-backend"] == "none"
        assert isinstance(its[f"{name}-k3s-server"].inputs["stdin"], Secret)
    assert "s2-joined" in its.before(its["s3-k3s-server"])
    assert "s3-joined" not in its.before(its["s2-k3s-server"])
    for name in AGENTS:
        assert {"s2-joined", "s3-joined"} <= its.before(its[f"{name}-k3s-agent"])
    assert not {name for name in its.before(its["a2-k3s-agent"]) if name.startswith("a1")}


def test_outputs() -> None:
    api = f"https://{HOST_ADDRESS}:6443"
    assert dev().outputs_of("k3s") == {"api": api, "joined": ["k3s1", "k3s2", "k3s3"]}
    assert stack(LARGE).outputs_of("k3s")["joined"] == ["s1", "s2", "s3", "a1", "a2"]
