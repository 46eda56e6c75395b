"""The graph as a whole: what is in it for `dev`, and what holds for every configuration."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components.remote import SCRIPTS
from tests.unit.graph import (
    CANARIES,
    DEV,
    EXISTING,
    UNKNOWN,
    Graph,
    Registered,
    Secret,
    dev,
    plain,
    program,
    registered,
    stack,
    strings,
    values,
)

COMMAND, LXD, KUBERNETES = "command:remote:Command", "pulumi-python:dynamic/lxd", "kubernetes"
FINALIZER = "pulumi-python:dynamic/cilium-bgp:Finalizer"
WHOLE = {
    "LinodeHost host": {
        "host-firewall": "linode:index/firewall:Firewall",
        "host-instance": "linode:index/instance:Instance",
        "host-firewall-first": "pulumi-python:dynamic/cilium-bgp:FirstSeen",
        "host-key": "pulumi-python:dynamic/cilium-bgp:HostKey",
    },
    "Preflight preflight": {
        "preflight-owner": "pulumi-python:dynamic/cilium-bgp:RandomHex",
        "preflight-host": COMMAND,
        "preflight-host-finalizer": FINALIZER,
    },
    "Access access": {"access-authorized-keys": COMMAND},
    "LxdHost lxd": {
        "lxd-install": COMMAND,
        "lxd-kernel": COMMAND,
        "lxd-kernel-finalizer": FINALIZER,
        "lxd-ssh-key": COMMAND,
        "lxd-ssh-key-finalizer": FINALIZER,
    },
    "Firewall firewall": {"firewall-rules": COMMAND, "firewall-rules-finalizer": FINALIZER},
    "LxdTopology topology": {
        "topology-pool": f"{LXD}:StoragePool",
        "topology-bridge": f"{LXD}:Network",
        "topology-profile-k8s": f"{LXD}:Profile",
        "k3s1": f"{LXD}:Instance",
        "k3s1-identity": f"{LXD}:Identity",
        "k3s2": f"{LXD}:Instance",
        "k3s2-identity": f"{LXD}:Identity",
        "k3s3": f"{LXD}:Instance",
        "k3s3-identity": f"{LXD}:Identity",
    },
    "BgpRouter router": {
        "router-password": "pulumi-python:dynamic/cilium-bgp:RandomHex",
        "router-frr": COMMAND,
        "router-frr-finalizer": FINALIZER,
    },
    "K3sCluster k3s": {
        "k3s-token": COMMAND,
        "k3s-tokens": "pulumi-python:dynamic/cilium-bgp:ClusterTokens",
        "k3s-identity": "pulumi-python:dynamic/cilium-bgp:ClusterIdentity",
        "k3s-endpoint": COMMAND,
        "k3s-endpoint-finalizer": FINALIZER,
        "k3s1-mounts": COMMAND,
        "k3s1-forgotten": COMMAND,
        "k3s1-k3s-server": COMMAND,
        "k3s1-joined": COMMAND,
        "k3s1-finalizer": FINALIZER,
        "k3s-authority": COMMAND,
        "k3s2-mounts": COMMAND,
        "k3s2-forgotten": COMMAND,
        "k3s2-k3s-agent": COMMAND,
        "k3s2-joined": COMMAND,
        "k3s2-finalizer": FINALIZER,
        "k3s3-mounts": COMMAND,
        "k3s3-forgotten": COMMAND,
        "k3s3-k3s-agent": COMMAND,
        "k3s3-joined": COMMAND,
        "k3s3-finalizer": FINALIZER,
        "k3s-kubeconfig": COMMAND,
        "k3s-provider": "pulumi:providers:kubernetes",
        "k3s-running": "pulumi-python:dynamic/cilium-bgp:Running",
    },
    "Cilium cilium": {
        "cilium-bgp-config": f"{KUBERNETES}:core/v1:ConfigMap",
        "cilium-release": f"{KUBERNETES}:helm.sh/v3:Release",
        "cilium-ready": COMMAND,
        "cilium-running": "pulumi-python:dynamic/cilium-bgp:Running",
    },
    "PodRoutes pods": {"pods-ranges": COMMAND, "pods-router": COMMAND, "pods-router-finalizer": FINALIZER},
    "Hubble hubble": {"hubble-addresses": COMMAND},
    "FcDemo fcdemo": {
        "fcdemo-deployment": f"{KUBERNETES}:apps/v1:Deployment",
        "fcdemo-service": f"{KUBERNETES}:core/v1:Service",
    },
    "Proof proof": {
        "proof-boot": "pulumi-python:dynamic/cilium-bgp:Boot",
        "proof-addresses": COMMAND,
        "proof-routes": COMMAND,
    },
    "Exposure exposure": {},
}

CONTROL_PLANE = values(
    bgp={"mode": "control-plane"},
    cilium={"version": "1.18.12", "kubeProxyReplacement": True},
    k3s={"version": "v1.33.4+k3s1"},
    l7echo={"enabled": True},
    exposure={"mode": "ngrok"},
)
FORWARD = {"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080}
STACKS = {
    "dev": DEV,
    "existing": values(host=EXISTING),
    "everything": CONTROL_PLANE,
    "forward": values(exposure={"mode": "forward", "cidrs": ["0.0.0.0/0"], "forwards": [FORWARD]}),
    "project": values(lxd={"project": "lab"}),
}
NOT_ON_THE_HOST = {"host-firewall", "host-instance", "k3s-provider", "router-password", "preflight-owner"}


@pytest.fixture(scope="module", params=STACKS)
def its(request: pytest.FixtureRequest) -> Graph:
    return stack(STACKS[request.param])


# dev, name by name


def test_dev_is_this_and_nothing_else() -> None:
    components = {
        f"{its.type.removeprefix('cilium-bgp:index:')} {its.name}": {
            child.name: child.type for child in dev().children(its.name).values()
        }
        for its in dev()
        if not its.custom
    }
    assert components == WHOLE


def test_outputs_of_the_stack() -> None:
    assert set(dev().outputs) == {
        "host_address",
        "nodes",
        "kube_api",
        "kubeconfig",
        "load_balancer_ips",
        "bgp",
        "urls",
        "ssh_commands",
    }
    assert [name for name, value in dev().outputs.items() if isinstance(value, Secret)] == ["kubeconfig"]


def test_a_bad_configuration_is_said_and_registers_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def bad() -> None:
        with pytest.raises(SystemExit) as ended:
            program(values(bgp={"pool": "10.26.23.40/27"}))()
        assert ended.value.code == 32, "Pulumi's language host then adds nothing"

    assert registered(bad).resources == {}
    assert caplog.messages == [
        "bgp.pool: 10.26.23.40/27 has host bits set; its network would be 10.26.23.32/27. Cilium would hand out "
        "addresses you did not mean. Write 10.26.23.32/27."
    ]


# every configuration


def test_a_component_is_the_stacks_and_all_else_is_a_components(its: Graph) -> None:
    for resource in its:
        if resource.custom:
            assert its.resources[resource.parent].type.startswith("cilium-bgp:index:"), resource.name
        else:
            assert resource.type.startswith("cilium-bgp:index:")
            assert resource.parent == "urn:pulumi:dev::cilium-bgp::pulumi:pulumi:Stack::cilium-bgp-dev"


def test_every_component_registers_outputs(its: Graph) -> None:
    components = {resource.urn for resource in its if not resource.custom}
    assert {
        urn for urn, outputs in its.registered_outputs.items() if outputs and "pulumi:pulumi:Stack" not in urn
    } == components


@pytest.mark.parametrize("name", STACKS)
def test_a_preview_shows_every_resource_that_an_up_creates(name: str) -> None:
    preview = stack(STACKS[name], preview=True)
    assert preview.resources.keys() == stack(STACKS[name]).resources.keys()
    assert UNKNOWN in str([resource.inputs for resource in preview]), "it knows of no answer"


def test_no_secret_is_in_a_command_line_or_in_anything_that_is_not_secret(its: Graph) -> None:
    for resource in its:
        for operation in ("create", "command"):
            assert_no_canary(strings(resource.inputs.get(operation, ""), secret_too=True), resource.name)
        assert_no_canary(strings(resource.inputs, secret_too=False), resource.name)
    for urn, outputs in its.registered_outputs.items():
        assert_no_canary(strings(outputs, secret_too=False), urn)


def test_the_secrets_are_where_they_are_needed() -> None:
    """Else the test above would see nothing."""
    everything = stack(CONTROL_PLANE)
    texts = [text for resource in everything for text in strings(resource.inputs, secret_too=True)]
    assert [canary for canary in CANARIES if not any(canary in text for text in texts)] == []


def test_every_command_pins_its_machines_key_and_dials_for_a_finite_time(its: Graph) -> None:
    commands = [resource for resource in its if resource.type == COMMAND]
    assert len(commands) > 10
    for command in commands:
        connection = plain(command.inputs["connection"])
        for hop in (connection, *([connection["proxy"]] if "proxy" in connection else [])):
            assert hop["hostKey"].startswith("ssh-ed25519 AAAA"), command.name
            assert 0 < hop["dialErrorLimit"] < 100
            assert 0 < hop["perDialTimeout"] < 100


def test_every_script_is_ended_at_some_time_and_after_it_has_said_why(its: Graph) -> None:
    ran = [
        resource.ran(operation)
        for resource in its
        for operation in ("create", "command")
        if operation in resource.inputs
    ]
    assert len(ran) > 10
    for command in ran:
        if command.parameters and command.parameters[0].isdigit():
            assert command.seconds > int(command.parameters[0]), command.file


def test_a_command_whose_output_is_secret_is_not_logged(its: Graph) -> None:
    secret = [resource for resource in its if "stdout" in resource.additional_secret_outputs]
    assert {resource.name for resource in secret} == {"k3s-token", "k3s-kubeconfig"}
    for resource in its:
        if resource.type == COMMAND:
            assert resource.inputs["logging"] == ("none" if resource in secret else "stderr"), resource.name
            assert resource.inputs["addPreviousOutputInEnv"] is False


def test_all_in_the_cluster_dies_with_the_cluster_and_is_asked_of_any_server(its: Graph) -> None:
    commands = [resource for resource in its if resource.type == COMMAND]
    asking = [
        resource
        for resource in commands
        if resource.ran().file != "k3s_install.sh" and "kubectl" in (SCRIPTS / resource.ran().file).read_text()
    ]
    assert {"k3s2-joined", "cilium-ready", "proof-addresses"} <= {resource.name for resource in asking}
    assert [resource.name for resource in asking if not resource.ran().on_server] == []
    inside = [resource for resource in its if resource.type.startswith("kubernetes:") or resource in asking]
    assert {"cilium-release", "fcdemo-service"} <= {resource.name for resource in inside}
    joining = ("-forgotten", "-joined", "-authority")
    for resource in inside:
        cluster = "k3s-tokens" if resource.name.endswith(joining) else "k3s-identity"
        assert resource.deleted_with == its[cluster].urn


def test_all_in_the_cluster_is_of_its_provider(its: Graph) -> None:
    inside = [resource for resource in its if resource.type.startswith("kubernetes:")]
    assert inside
    assert {resource.provider.rpartition("::")[0] for resource in inside} == {its["k3s-provider"].urn}
    # Also where a run that was killed has replaced the provider, and no object yet.
    starter = its["k3s-provider"].inputs["clusterIdentifier"]
    assert {resource.replacement_trigger for resource in inside} == {starter}


@pytest.mark.parametrize("name", [name for name in STACKS if name != "existing"])
def test_all_on_a_linode_dies_with_it(name: str) -> None:
    graph = stack(STACKS[name])
    on_it = [resource for resource in graph if resource.custom and resource.name not in NOT_ON_THE_HOST]
    assert len(on_it) > 25
    assert [resource.name for resource in on_it if "host-instance" not in graph.dies_with(resource)] == []
    for gone in NOT_ON_THE_HOST:
        assert not graph[gone].deleted_with


def test_nothing_is_kept_or_ignored_behind_the_users_back(its: Graph) -> None:
    assert [resource.name for resource in its if resource.retain_on_delete] == []
    ignored = {resource.name: resource.ignore_changes for resource in its if resource.ignore_changes}
    ignored.pop("host-instance", None)  # what would be another VM
    assert ignored == {"k3s-token": ("create", "connection", "logging")}, "asked once and for all"


# any nodes


def names() -> st.SearchStrategy[str]:
    """Names of nodes, those of other resources among them."""
    known = ["k3s", "lxd", "host", "proof", "topology", "topology-pool", "cilium", "a", "a-k3s"]
    return st.sampled_from(known) | st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Any]:
    """Nodes in any order and with any address outside of the pool: one or three servers, at least one agent."""
    free = [last for last in range(2, 255) if not 32 <= last < 64]
    servers = draw(st.sampled_from([1, 3]))
    agents = draw(st.integers(1, 5))
    chosen = draw(st.lists(names(), min_size=servers + agents, max_size=servers + agents, unique=True))
    last = draw(st.lists(st.sampled_from(free), min_size=len(chosen), max_size=len(chosen), unique=True))
    roles = draw(st.permutations(["server"] * servers + ["agent"] * agents))
    return {
        name: {"role": role, "address": str(IPv4Address("10.26.23.0") + number)}
        for name, role, number in zip(chosen, roles, last, strict=True)
    }


# An example takes half a second and says enough as it is: shrinking one would take minutes. To measure what it covers
# would double that, for lines that the tests above run too.
few = settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
STATED = {
    "topology-bridge": {"config"},  # the range that DHCP may give: only ipv4.dhcp.ranges, see below
    "preflight-host": {"create"},  # what the host must be large enough for
    "firewall-rules": {"create"},  # who may speak BGP
    "router-frr": {"stdin"},  # the neighbours
    "cilium-ready": {"create", "stdin"},  # the nodes that must be Ready
    "pods-ranges": {"create", "stdin"},  # and where each keeps its pods
    "pods-router": {"create", "stdin"},
    "hubble-addresses": {"stdin"},  # asked anew, as Cilium rolled out anew
    "proof-addresses": {"stdin"},
    "proof-routes": {"create", "stdin"},  # the nodes that must have a session
}
"""What else an agent's coming and going changes."""


@pytest.mark.no_cover
@few
@given(nodes=clusters(), data=st.data())
def test_an_agent_takes_away_what_is_its_and_touches_nothing_else(nodes: dict[str, Any], data: st.DataObject) -> None:
    """Nor does one that is added, for then the two stacks only change places."""
    gone = data.draw(st.sampled_from([name for name, node in nodes.items() if node["role"] == "agent"]))
    before, after = stack(values(nodes=nodes)), stack(values(nodes=without(nodes, gone)))
    its_own = {
        f"LxdTopology${LXD}:Instance::{gone}",
        f"LxdTopology${LXD}:Identity::{gone}-identity",
        f"K3sCluster${FINALIZER}::{gone}-finalizer",
        *(f"K3sCluster${COMMAND}::{gone}-{part}" for part in ("mounts", "forgotten", "k3s-agent", "joined")),
    }
    prefix = "urn:pulumi:dev::cilium-bgp::cilium-bgp:index:"
    assert before.resources.keys() - after.resources.keys() == {prefix + urn for urn in its_own}
    assert after.resources.keys() <= before.resources.keys()
    for urn, resource in after.resources.items():
        changed = differences(before.resources[urn], resource)
        if resource.name == "cilium-release" and len(nodes) == 2:
            changed -= {"values"}  # from two nodes to one: the operator's replicas
        assert changed <= STATED.get(resource.name, set()), resource.name
        if resource.name == "topology-bridge" and changed:
            both = before.resources[urn].inputs["config"].items() ^ resource.inputs["config"].items()
            assert {key for key, _ in both} == {"ipv4.dhcp.ranges"}
        options = (
            (
                its.deleted_with,
                its.replace_with,
                its.protect,
                its.delete_before_replace,
                its.additional_secret_outputs,
                its.parent,
            )
            for its in (before.resources[urn], resource)
        )
        assert len(set(options)) == 1


@pytest.mark.no_cover
@few
@given(nodes=clusters())
def test_any_cluster_joins_in_order_keeps_its_secrets_and_dies_with_its_machines(nodes: dict[str, Any]) -> None:
    cluster = stack(values(nodes=nodes))
    servers = [name for name, node in nodes.items() if node["role"] == "server"]
    names_of = {resource.name: resource for resource in cluster if resource.parent.endswith("::k3s")}
    for name, node in nodes.items():
        k3s = names_of[f"{name}-k3s-{node['role']}"]
        instance = f"urn:pulumi:dev::cilium-bgp::cilium-bgp:index:LxdTopology${LXD}:Instance::{name}"
        assert instance in cluster.resources
        assert cluster.resources[k3s.deleted_with].deleted_with == instance
        before = cluster.before(k3s)
        if name != servers[0]:
            assert {f"{servers[0]}-k3s-server", "k3s-tokens", "k3s-endpoint"} <= before
        if node["role"] == "agent":
            assert {f"{server}-joined" for server in servers} <= before
    for resource in cluster:
        assert resource.parent in cluster.resources or not resource.custom
        assert_no_canary(strings(resource.inputs, secret_too=False), resource.name)
        for operation in ("create", "command"):
            assert_no_canary(strings(resource.inputs.get(operation, ""), secret_too=True), resource.name)
        if resource.custom and resource.name not in NOT_ON_THE_HOST:
            assert "host-instance" in cluster.dies_with(resource)


def without(nodes: Mapping[str, Any], gone: str) -> dict[str, Any]:
    return {name: node for name, node in nodes.items() if name != gone}


def differences(one: Registered, other: Registered) -> set[str]:
    """Names of the inputs that are not the same."""
    return {key for key in one.inputs.keys() | other.inputs.keys() if one.inputs.get(key) != other.inputs.get(key)}


def assert_no_canary(texts: Any, where: str) -> None:
    assert [text for text in texts if any(canary in text for canary in CANARIES)] == [], where
