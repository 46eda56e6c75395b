"""k3s on the nodes: who comes when, with what configuration."""

import hashlib
import json
import re
from typing import Any

import pytest

from settings.versions import K3S_INSTALLER
from tests.unit.graph import (
    AGENT_TOKEN,
    AUTHORITY,
    HOST_ADDRESS,
    KUBECONFIG,
    PASSWORDS,
    SERVER_TOKEN,
    SSH_KEY,
    Graph,
    Secret,
    dev,
    plain,
    stack,
    values,
)

SERVERS = {f"s{number}": {"role": "server", "address": f"10.26.23.{10 + number}"} for number in (1, 2, 3)}
AGENTS = {f"a{number}": {"role": "agent", "address": f"10.26.23.{20 + number}"} for number in (1, 2)}
LARGE = values(nodes={**AGENTS, **SERVERS})
ENDPOINT = "https://10.26.23.1:6443"


def stdin(its: Graph, name: str) -> tuple[str, str]:
    """The node's password, and config.yaml."""
    password, _, text = plain(its[name].inputs["stdin"]).partition("\n")
    return password, text


def config(its: Graph, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stdin(its, name)[1].partition("\n#")[0])
    return found


def test_a_server_has_no_network_of_its_own() -> None:
    assert config(dev(), "k3s1-k3s-server") == {
        "node-name": "k3s1",
        "node-ip": "10.26.23.11",
        "token": SERVER_TOKEN,
        "agent-token": AGENT_TOKEN,
        "flannel-backend": "none",
        "disable-network-policy": True,
        "disable": ["servicelb"],
        "disable-kube-proxy": False,
        "cluster-cidr": "10.42.0.0/16",
        "service-cidr": "10.43.0.0/16",
        "tls-san": [HOST_ADDRESS, "10.26.23.1"],
        "secrets-encryption": True,
    }


@pytest.mark.parametrize(("name", "address"), [("k3s2", "10.26.23.12"), ("k3s3", "10.26.23.13")])
def test_an_agent_joins_with_a_token_that_makes_no_server(name: str, address: str) -> None:
    assert config(dev(), f"{name}-k3s-agent") == {
        "node-name": name,
        "node-ip": address,
        "server": ENDPOINT,
        "token": f"K10{AUTHORITY}::node:{AGENT_TOKEN}",
    }
    assert isinstance(dev()[f"{name}-k3s-agent"].inputs["stdin"], Secret)
    assert SERVER_TOKEN not in plain(dev()[f"{name}-k3s-agent"].inputs["stdin"])


@pytest.mark.parametrize("name", ["k3s1-k3s-server", "k3s2-k3s-agent"])
def test_a_nodes_password_is_its_own_and_stays(name: str) -> None:
    node = name.partition("-")[0]
    assert stdin(dev(), name)[0] == hashlib.sha256(f"{node} {PASSWORDS}".encode()).hexdigest()[:32]


@pytest.mark.parametrize(("name", "role"), [("k3s1", "server"), ("k3s2", "agent"), ("k3s3", "agent")])
def test_the_installer_is_the_official_one_by_its_sum_and_installs_the_articles_version(name: str, role: str) -> None:
    ran = dev()[f"{name}-k3s-{role}"].ran()
    assert ran.file == "k3s_install.sh"
    assert ran.parameters[:6] == (role, "v1.25.6+k3s1", K3S_INSTALLER, "", "600", "ubuntu")
    assert re.fullmatch(r"https://\S+/v1\.\d+\.\d+%2Bk3s1/install\.sh#sha256=[0-9a-f]{64}", K3S_INSTALLER)
    assert ran.parameters[6:8] == (ENDPOINT, AUTHORITY), "of the cluster that is there, or nothing"
    assert ran.parameters[8:] == (("",) if role == "server" else ()), "no snapshot"
    assert ran.seconds == 2400, "it may wait four times"
    assert ran.sudo


def test_servers_keep_their_snapshots_on_the_host() -> None:
    kept = {"folder": "/var/backups/cilium-bgp", "schedule": "0 3 * * *", "keep": 7, "restore": "on-demand-k3s1-1"}
    its = stack(values(k3s={"snapshots": kept}))
    inside = "/var/lib/cilium-bgp/snapshots"
    device = {"type": "disk", "source": "/var/backups/cilium-bgp", "path": inside}
    assert its["k3s1"].inputs["devices"]["snapshots"] == device
    assert "snapshots" not in its["k3s2"].inputs["devices"]
    assert its["topology-snapshots"].ran().parameters == ("/var/backups/cilium-bgp",)
    assert "topology-snapshots" in its.before(its["k3s1"])
    assert "delete" not in its["topology-snapshots"].inputs, "it outlives the stack"
    assert (
        config(its, "k3s1-k3s-server").items()
        >= {
            "etcd-snapshot-dir": inside,
            "etcd-snapshot-schedule-cron": "0 3 * * *",
            "etcd-snapshot-retention": 7,
        }.items()
    )
    assert its["k3s1-k3s-server"].ran().parameters[8] == "on-demand-k3s1-1"
    assert stdin(its, "k3s2-k3s-agent") == stdin(dev(), "k3s2-k3s-agent"), "no agent is restarted"


def test_servers_alone_know_the_bucket_and_its_keys() -> None:
    bucket = {"bucket": "snapshots", "endpoint": "eu-central-1.linodeobjects.com", "folder": "dev"}
    secrets = {"sshPrivateKey": SSH_KEY, "s3AccessKey": "AKIAEXAMPLE", "s3SecretKey": "hunter2"}
    its = stack(values(k3s={"snapshots": {"s3": bucket}}), secrets)
    assert isinstance(its["k3s1-k3s-server"].inputs["stdin"], Secret)
    told = config(its, "k3s1-k3s-server")
    assert {key: value for key, value in told.items() if key.startswith("etcd-s")} == {
        "etcd-snapshot-schedule-cron": "0 */12 * * *",
        "etcd-snapshot-retention": 5,
        "etcd-s3": True,
        "etcd-s3-bucket": "snapshots",
        "etcd-s3-endpoint": "eu-central-1.linodeobjects.com",
        "etcd-s3-region": "us-east-1",
        "etcd-s3-folder": "dev",
        "etcd-s3-access-key": "AKIAEXAMPLE",
        "etcd-s3-secret-key": "hunter2",
    }
    assert stdin(its, "k3s2-k3s-agent") == stdin(dev(), "k3s2-k3s-agent")


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


@pytest.mark.parametrize(("name", "role"), [("k3s1", "server"), ("k3s2", "agent")])
def test_a_former_instance_is_taken_out_of_the_cluster_before_the_present_one_joins(name: str, role: str) -> None:
    forgotten = dev()[f"{name}-forgotten"]
    ran = forgotten.ran()
    assert (ran.file, ran.parameters) == ("node_forget.sh", (name, "machine-id"))
    assert (ran.on_server, ran.without) == (True, "skip"), "before the first server there is nobody to ask"
    assert forgotten.urn in dev()[f"{name}-k3s-{role}"].dependencies
    assert {f"{name}-mounts", "k3s-endpoint"} <= dev().before(forgotten)


def test_agents_come_after_the_server_and_not_after_each_other() -> None:
    before = dev().before(dev()["k3s3-k3s-agent"])
    assert {"k3s1-k3s-server", "k3s1-joined", "k3s-tokens", "k3s-authority"} <= before
    assert not {name for name in before if name.startswith("k3s2")}


def test_a_node_that_is_changed_leaves_before_and_returns_after() -> None:
    leaves = {"before_update": ["k3s2-leaves"], "after_update": ["k3s2-returns"], "on_error": ["k3s2-stays"]}
    assert dev()["k3s2-k3s-agent"].hooks == leaves


def test_an_agent_starts_again_when_the_servers_settings_change() -> None:
    def text(**settings: Any) -> str:
        return stdin(stack(values(**settings)), "k3s2-k3s-agent")[1]

    assert text(cilium={"kubeProxyReplacement": True}) != text(), "it asks for them once, at its start"
    assert text(k3s={"timeoutSeconds": 7}) == text()
    assert text(k3s={"version": "v1.25.10+k3s1"}) != text(), "which tells that it has to be drained"


def test_a_member_that_leaves_is_drained_by_whichever_server_answers() -> None:
    for name, role in (("k3s1", "server"), ("k3s2", "agent")):
        joined = dev()[f"{name}-joined"]
        assert (joined.ran().file, joined.ran().parameters) == ("node_joined.sh", (name, "600"))
        assert joined.ran().aside == "return", "what an interrupted run has left to do"
        assert joined.ran().seconds > 600
        removal = dev()[f"{name}-finalizer"]
        assert (removal.ran("command").file, removal.ran("command").parameters) == ("node_remove.sh", (name, "120"))
        assert removal.ran("command").on_server
        assert removal.ran("command").aside == "leave", "nothing comes by it any more when its pods are moved"
        assert plain(joined.inputs["connection"])["host"] == HOST_ADDRESS
        assert joined.deleted_with == removal.deleted_with == dev()["k3s-tokens"].urn, "a cluster drains nobody"
        assert name in dev().before(removal), "drained before its instance is deleted"
        assert removal.urn in dev()[f"{name}-k3s-{role}"].dependencies, "and before another one joins"


@pytest.mark.parametrize(("name", "script"), [("k3s-token", "k3s_token.sh"), ("k3s-kubeconfig", "k3s_kubeconfig.sh")])
def test_what_a_server_tells_is_secret_and_never_logged(name: str, script: str) -> None:
    its = dev()[name]
    assert its.ran().file == script
    assert "stdout" in its.additional_secret_outputs
    assert its.inputs["logging"] == "none"
    assert its.inputs["addPreviousOutputInEnv"] is False


def test_the_tokens_are_the_stacks_own_and_secret() -> None:
    identity = dev()["k3s-tokens"]
    assert {"token", "agent_token", "passwords"} <= identity.additional_secret_outputs
    assert all(isinstance(identity.inputs[key], Secret) for key in ("token", "agent_token", "passwords", "existing"))
    assert "k3s1-k3s-server" not in dev().before(identity)
    assert dev()["k3s-token"].ignore_changes == ("create", "connection", "logging"), "asked once, of an older cluster"


def test_the_kubeconfig_leads_to_the_api_through_the_host() -> None:
    assert dev()["k3s-kubeconfig"].ran().on_server
    assert dev()["k3s-kubeconfig"].ran().parameters == (), "asked anew, all on the cluster is unknown to a preview"
    assert dev().outputs["kubeconfig"] == Secret(KUBECONFIG.format(f"https://{HOST_ADDRESS}:6443"))
    assert dev().outputs["kube_api"] == f"https://{HOST_ADDRESS}:6443"


def test_the_provider_is_of_this_cluster_whatever_the_kubeconfig_says() -> None:
    provider = dev()["k3s-provider"]
    assert provider.type == "pulumi:providers:kubernetes"
    assert provider.inputs["kubeconfig"] == Secret(KUBECONFIG.format(f"https://{HOST_ADDRESS}:6443"))
    assert provider.inputs["clusterIdentifier"] == "00:16:3e:00:00:0b", "k3s1's, which starts it"
    assert (provider.inputs["enableConfigMapMutable"], provider.inputs["enableSecretMutable"]) == ("true", "true")


def test_kube_proxy_is_off_where_cilium_replaces_it() -> None:
    assert config(stack(values(cilium={"kubeProxyReplacement": True})), "k3s1-k3s-server")["disable-kube-proxy"] is True


def test_several_servers_join_one_after_the_other_and_agents_after_all_of_them() -> None:
    its = stack(LARGE)
    own = {"node-name", "node-ip"}
    alike = [
        {key: value for key, value in config(its, f"{name}-k3s-server").items() if key not in own} for name in SERVERS
    ]
    assert alike[0] == alike[1] == alike[2]
    assert not {"server", "cluster-init"} & alike[0].keys()
    assert all(isinstance(its[f"{name}-k3s-server"].inputs["stdin"], Secret) for name in SERVERS)
    assert "s1-joined" in its.before(its["s2-forgotten"]), "which tells whether there is a cluster"
    assert "s2-joined" in its.before(its["s3-k3s-server"])
    assert "s3-joined" not in its.before(its["s2-k3s-server"])
    for name in AGENTS:
        assert {"s2-joined", "s3-joined"} <= its.before(its[f"{name}-k3s-agent"])
    assert not {name for name in its.before(its["a2-k3s-agent"]) if name.startswith("a1")}


def test_the_host_passes_the_api_on_to_all_servers() -> None:
    endpoint = stack(LARGE)["k3s-endpoint"]
    servers = tuple(f"s{number}=10.26.23.{10 + number}" for number in (1, 2, 3))
    assert endpoint.ran().parameters == ("cilium-bgp-dev-api", "0.0.0.0", "10.26.23.1", "6443", *servers)
    assert stack(LARGE)["k3s-endpoint-finalizer"].ran("command").parameters == ("cilium-bgp-dev-api",)
    assert plain(endpoint.inputs["connection"])["host"] == HOST_ADDRESS


def test_one_server_more_changes_no_other_command() -> None:
    one = stack(values(nodes={"s1": SERVERS["s1"], **AGENTS}))
    three = stack(LARGE)
    changed = {
        its.name
        for its in one
        if its.type.startswith("command:") and its.name.startswith(("k3s-", "s1-", "a1-"))
        if its.inputs != three[its.name].inputs
    }
    assert changed == {"k3s-endpoint"}


def test_it_gives_the_apis_url_and_who_has_joined() -> None:
    api = f"https://{HOST_ADDRESS}:6443"
    assert dev().outputs_of("k3s") == {"api": api, "joined": ["k3s1", "k3s2", "k3s3"]}
    assert stack(LARGE).outputs_of("k3s")["joined"] == ["s1", "s2", "s3", "a1", "a2"]
