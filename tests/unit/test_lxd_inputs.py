"""LXD resources without an LXD: what check and diff say, and what the resource classes register."""

import base64
import subprocess
import sys
from typing import Any

import dill  # type: ignore[import-untyped]
import pulumi
import pytest
from pulumi import dynamic
from pulumi.output import UNKNOWN

import lxd_resources as lxd
from lxd_resources import instance
from lxd_resources.entity import Provider
from lxd_resources.errors import LxdError
from lxd_resources.forward import ForwardProvider
from lxd_resources.instance import InstanceProvider
from lxd_resources.network import NetworkProvider
from lxd_resources.profile import ProfileProvider
from lxd_resources.project import ProjectProvider
from lxd_resources.storage_pool import StoragePoolProvider
from tests.unit.graph import Graph, Registered, Secret, registered

ENDPOINT = {
    "host": "192.0.2.1",
    "port": 22.0,
    "user": "root",
    "privateKey": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "hostKey": "ssh-ed25519 AAAAC3",
    "socket": "/var/lib/lxd/unix.socket",
    "project": "default",
}
COMMON = {"lxd": ENDPOINT, "owner": "p/s/r", "__provider": "x"}
POOL = {**COMMON, "name": "pool", "driver": "dir", "config": {}, "adopt": "never"}
NETWORK = {**COMMON, "name": "lxdbr0", "type": "bridge", "config": {}, "adopt": "never"}
PROFILE = {**COMMON, "name": "k8s", "config": {}, "devices": {}, "adopt": "never"}
PROJECT = {**COMMON, "name": "cilium", "config": {}, "adopt": "never"}
INSTANCE = {
    **COMMON,
    "name": "k3s1",
    "image": "ubuntu:22.04",
    "profiles": ["default"],
    "config": {},
    "devices": {},
    "files": {},
    "login_user": "ubuntu",
    "generation": 1.0,
    "wait_for": ["ipv4"],
    "timeout_seconds": 600.0,
}


def eth0(address: object) -> dict[str, Any]:
    return {"eth0": {"type": "nic", "network": "lxdbr0", "ipv4.address": address}}


WITH_ADDRESS = {**INSTANCE, "devices": eth0("10.0.0.2")}
PORT = {"protocol": "tcp", "listen_port": 8080.0, "target_address": "10.0.0.2", "target_port": 80.0}
FORWARD = {**COMMON, "network": "lxdbr0", "listen_address": "192.0.2.1", "ports": [PORT], "config": {}}
ALL = [
    (StoragePoolProvider(), POOL),
    (NetworkProvider(), NETWORK),
    (ProfileProvider(), PROFILE),
    (ProjectProvider(), PROJECT),
    (InstanceProvider(), INSTANCE),
    (ForwardProvider(), FORWARD),
]
ids = [provider.kind for provider, _ in ALL]


@pytest.fixture(autouse=True)
def first(monkeypatch: pytest.MonkeyPatch) -> None:
    """No instance of another test is about to be made anew."""
    monkeypatch.setattr(instance, "_made_anew", {})


def failures(provider: Provider, **news: Any) -> list[tuple[str, str]]:
    return [(failure.property, failure.reason) for failure in provider.check({}, news).failures]


def outs(provider: Provider, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**provider.check({}, inputs).inputs, "former": "", "status": "Running"}


@pytest.mark.parametrize(("provider", "inputs"), ALL, ids=ids)
def test_good_inputs_pass_and_change_nothing(provider: Provider, inputs: dict[str, Any]) -> None:
    assert failures(provider, **inputs) == []
    assert provider.check({}, inputs).inputs["__provider"] == "x"
    result = provider.diff("", outs(provider, inputs), provider.check({}, inputs).inputs)
    assert (result.changes, result.replaces, result.delete_before_replace) == (False, [], True)


IGNORED = {"instance": ("image", "login_user", "timeout_seconds")}
"""By kind, what changes nothing about an entity that is there."""


@pytest.mark.parametrize(("provider", "inputs"), ALL, ids=ids)
def test_any_input_may_be_unknown(provider: Provider, inputs: dict[str, Any]) -> None:
    for key in inputs:
        news = {**inputs, key: UNKNOWN}
        assert failures(provider, **news) == []
        result = provider.diff("", outs(provider, inputs), provider.check({}, news).inputs)
        ignored = key == "__provider" or key in IGNORED.get(provider.kind, ())
        replaced = [key] if key in provider.immutable else []
        assert (result.changes, result.replaces) == (not ignored, replaced), key


@pytest.mark.parametrize(
    ("provider", "inputs", "change", "replaces"),
    [
        (StoragePoolProvider(), POOL, {"name": "other"}, ["name"]),
        (StoragePoolProvider(), POOL, {"config": {"source": "/dev/sdb"}}, ["config"]),
        (StoragePoolProvider(), POOL, {"config": {"source": UNKNOWN}}, []),
        (StoragePoolProvider(), POOL, {"config": {"rsync.bwlimit": "1"}}, []),
        (StoragePoolProvider(), POOL, {"lxd": {**ENDPOINT, "project": "other"}}, []),
        (StoragePoolProvider(), POOL, {"lxd": {**ENDPOINT, "host": "192.0.2.9"}}, []),
        (StoragePoolProvider(), POOL, {"owner": "p/renamed/r"}, []),
        (NetworkProvider(), NETWORK, {"type": "ovn"}, ["type"]),
        (NetworkProvider(), NETWORK, {"lxd": {**ENDPOINT, "project": "other"}}, []),
        (ProfileProvider(), PROFILE, {"name": "other"}, ["name"]),
        (ProfileProvider(), PROFILE, {"lxd": {**ENDPOINT, "project": "other"}}, ["lxd"]),
        (ProfileProvider(), PROFILE, {"devices": {"root": {"type": "disk"}}}, []),
        (ProjectProvider(), PROJECT, {"lxd": {**ENDPOINT, "project": "other"}}, []),
        (InstanceProvider(), INSTANCE, {"generation": 2.0}, ["generation"]),
        (InstanceProvider(), INSTANCE, {"profiles": ["default", "k8s"]}, []),
        (InstanceProvider(), INSTANCE, {"files": {"/root/.ssh/authorized_keys": "ssh-ed25519 AAAA"}}, []),
        (InstanceProvider(), INSTANCE, {"devices": {"root": UNKNOWN}}, []),
        (InstanceProvider(), WITH_ADDRESS, {"devices": eth0("10.0.0.3")}, ["devices"]),
        (InstanceProvider(), WITH_ADDRESS, {"devices": eth0(UNKNOWN)}, []),
        (InstanceProvider(), WITH_ADDRESS, {"devices": {}}, []),
        (InstanceProvider(), INSTANCE, {"devices": {"data": {"type": "disk", "path": "/data", "pool": "p"}}}, []),
        (ForwardProvider(), FORWARD, {"listen_address": "192.0.2.2"}, ["listen_address"]),
        (ForwardProvider(), FORWARD, {"network": "lxdbr1"}, ["network"]),
        (ForwardProvider(), FORWARD, {"ports": []}, []),
    ],
)
def test_what_is_updated_and_what_is_replaced(
    provider: Provider, inputs: dict[str, Any], change: dict[str, Any], replaces: list[str]
) -> None:
    result = provider.diff("", outs(provider, inputs), {**provider.check({}, inputs).inputs, **change})

    assert (result.changes, result.replaces) == (True, replaces)


ROOT = {"type": "disk", "path": "/", "pool": "one"}


@pytest.mark.parametrize(
    ("provider", "inputs", "change"),
    [
        (InstanceProvider(), INSTANCE, {"image": "ubuntu:24.04"}),
        (InstanceProvider(), INSTANCE, {"timeout_seconds": 5.0}),
        (InstanceProvider(), INSTANCE, {"lxd": {**ENDPOINT, "project": "other"}}),
        (InstanceProvider(), INSTANCE, {"config": {"cloud-init.user-data": "#cloud-config"}}),
        (
            InstanceProvider(),
            {**INSTANCE, "config": {"cloud-init.user-data": "a"}, "devices": {"root": ROOT}},
            {"config": {"cloud-init.user-data": "b"}, "devices": {"root": {**ROOT, "pool": "another"}}},
        ),
        (ProfileProvider(), {**PROFILE, "config": {"cloud-init.user-data": "a"}}, {"config": {}}),
    ],
)
def test_what_only_creation_decides_changes_nothing(
    provider: Provider, inputs: dict[str, Any], change: dict[str, Any]
) -> None:
    result = provider.diff("", outs(provider, inputs), {**provider.check({}, inputs).inputs, **change})

    assert (result.changes, result.replaces) == (False, [])


def test_one_instance_is_made_anew_at_a_time() -> None:
    """Those of another generation wait for their turn by themselves."""
    provider = InstanceProvider()

    def anew(name: str, **change: Any) -> list[str] | None:
        olds = outs(provider, {**WITH_ADDRESS, "name": name})
        return provider.diff("", olds, {**olds, **change}).replaces

    assert anew("k3s1", generation=2.0) == ["generation"]
    assert anew("k3s2", generation=2.0, devices=eth0("10.0.0.3")) == ["generation", "devices"]
    with pytest.raises(LxdError, match=r"^k3s3 has another address .* at the same time as k3s1, k3s2\. Change one"):
        anew("k3s3", devices=eth0("10.0.0.4"))
    assert anew("k3s4") == []


@pytest.mark.parametrize("another", [{"hostKey": "ssh-ed25519 AAAAD4"}, {"machine": "4712"}])
@pytest.mark.parametrize(("provider", "inputs"), ALL, ids=ids)
def test_on_another_machine_nothing_is_replaced(
    provider: Provider, inputs: dict[str, Any], another: dict[str, Any]
) -> None:
    before = {**inputs, "lxd": {**ENDPOINT, "machine": "4711"}}
    news = {**provider.check({}, before).inputs, "name": "other", "lxd": {**before["lxd"], **another}}
    for lxd_now in (news["lxd"], UNKNOWN, {**news["lxd"], "hostKey": UNKNOWN}):
        result = provider.diff("", outs(provider, before), {**news, "lxd": lxd_now, "generation": 2.0})
        assert (result.changes, result.replaces) == (True, [])


def test_a_state_that_knows_no_machine_is_of_the_one_with_its_key() -> None:
    now = {**PROFILE, "name": "other", "lxd": {**ENDPOINT, "machine": "4711"}}
    assert ProfileProvider().diff("", outs(ProfileProvider(), PROFILE), now).replaces == ["name"]


@pytest.mark.parametrize(
    ("provider", "inputs", "change", "said"),
    [
        (StoragePoolProvider(), POOL, {"driver": "zfs"}, "pool pool is of driver dir and stays so; give a pool of "),
        (NetworkProvider(), NETWORK, {"name": "lxdbr1"}, "lxdbr0 cannot become lxdbr1 under the instances that are "),
        (
            NetworkProvider(),
            {**NETWORK, "config": {"ipv4.address": "10.0.0.1/24"}},
            {"config": {"ipv4.address": "10.9.0.1/24"}},
            "ipv4.address 10.0.0.1/24 of lxdbr0 cannot become 10.9.0.1/24 under the instances that are on it",
        ),
    ],
)
def test_what_living_instances_cannot_bear_is_refused(
    provider: Provider, inputs: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    refused = provider.check(inputs, {**inputs, **change}).failures
    assert [failure.reason.startswith(said) for failure in refused] == [True]
    elsewhere = {**inputs, **change, "lxd": {**ENDPOINT, "hostKey": "ssh-ed25519 AAAAD4"}}
    assert provider.check(inputs, elsewhere).failures == [], "another machine has none"


def test_stopped_instance_is_a_change() -> None:
    provider = InstanceProvider()
    news = provider.check({}, INSTANCE).inputs

    assert provider.diff("", {**news, "status": "Stopped"}, news).changes
    assert not provider.diff("", {**news, "status": "Running"}, news).changes


def test_numbers_and_booleans_are_compared_as_lxd_shows_them() -> None:
    config = {"a": 1.0, "b": 1.5, "c": True, "d": "x", "e": 3, "f": None}
    assert ProfileProvider().check({}, {**PROFILE, "config": config}).inputs["config"] == {
        "a": "1",
        "b": "1.5",
        "c": "true",
        "d": "x",
        "e": "3",
    }


def test_ports_are_put_in_order() -> None:
    ports = [{**PORT, "listen_port": "9"}, {**PORT, "listen_port": 8.0}]
    assert [
        port["listen_port"] for port in ForwardProvider().check({}, {**FORWARD, "ports": ports}).inputs["ports"]
    ] == [
        "8",
        "9",
    ]


BOTH = "cloud-init.user-data and user.user-data are both set; which one counts is ambiguous: keep one"


@pytest.mark.parametrize(
    ("provider", "inputs", "change", "expected"),
    [
        (
            NetworkProvider(),
            NETWORK,
            {"name": "sixteen-letters-"},
            ("name", "'sixteen-letters-' has 16 characters; Linux allows 15 for an interface"),
        ),
        (ProjectProvider(), PROJECT, {"adopt": "yes"}, ("adopt", "'yes' is none of never, if-equal, update")),
        (
            InstanceProvider(),
            INSTANCE,
            {"image": "debian:12"},
            ("image", "'debian:12' is none of ubuntu:NAME, images:NAME, local:ALIAS"),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"image": "ubuntu:"},
            ("image", "'ubuntu:' is none of ubuntu:NAME, images:NAME, local:ALIAS"),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"wait_for": ["ipv4", "ipv6"]},
            ("wait_for", "'ipv6' is none of ipv4, cloud-init, ssh-host-key"),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"devices": {"eth0": {"ipv4.address": "10.0.0.2"}}},
            ("devices", "eth0 has no type; a device of an instance replaces the profile's, it must be complete"),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"devices": {"eth0": {"type": "nic", "ipv4.address": "10.0.0.2"}}},
            ("devices", "eth0 has ipv4.address and no network; give both, the profile's device is replaced"),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"config": {"cloud-init.user-data": "a", "user.user-data": "b"}},
            ("config", BOTH),
        ),
        (
            ProfileProvider(),
            PROFILE,
            {"config": {"cloud-init.user-data": "a", "user.user-data": "b"}},
            ("config", BOTH),
        ),
        (
            InstanceProvider(),
            INSTANCE,
            {"devices": {"api": {"type": "proxy", "nat": True}}},
            ("devices", "api has nat=true, which needs a device of the instance with a static ipv4.address"),
        ),
        (
            ProfileProvider(),
            PROFILE,
            {"lxd": {**ENDPOINT, "hostKey": "SHA256:abc"}},
            ("lxd", "hostKey 'SHA256:abc' is not a public key as in authorized_keys, \"ssh-ed25519 AAAA…\""),
        ),
        (
            ProfileProvider(),
            PROFILE,
            {"lxd": {key: value for key, value in ENDPOINT.items() if key != "user"}},
            ("lxd", "user is missing: give host, port, user, privateKey, hostKey and project"),
        ),
    ],
)
def test_bad_inputs_are_said(
    provider: Provider, inputs: dict[str, Any], change: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert failures(provider, **{**inputs, **change}) == [expected]


def test_unknown_values_inside_lists_and_devices_pass() -> None:
    assert failures(InstanceProvider(), **{**INSTANCE, "wait_for": [UNKNOWN]}) == []
    assert failures(InstanceProvider(), **{**INSTANCE, "devices": {"eth0": {"network": UNKNOWN}}}) == []
    assert failures(ProfileProvider(), **{**PROFILE, "devices": {"eth0": UNKNOWN}}) == []
    assert failures(ForwardProvider(), **{**FORWARD, "ports": [UNKNOWN]}) == []
    assert failures(ForwardProvider(), **{**FORWARD, "ports": [{**PORT, "target_address": UNKNOWN}]}) == []
    assert failures(ProfileProvider(), **{**PROFILE, "lxd": {**ENDPOINT, "hostKey": UNKNOWN}}) == []


def test_a_preview_does_not_wait_for_asyncssh_and_pylxd_to_load() -> None:
    program = "import sys, lxd_resources; print([m for m in ('asyncssh', 'pylxd', 'requests') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture(scope="module")
def graph() -> Graph:
    def program() -> None:
        endpoint = lxd.Endpoint(**ENDPOINT)  # type: ignore[typeddict-item]
        lxd.Project("project", lxd=endpoint, name="cilium")
        pool = lxd.StoragePool("pool", lxd=endpoint, name="default", driver="dir")
        network = lxd.Network("network", lxd=endpoint, name="lxdbr0", opts=pulumi.ResourceOptions(protect=True))
        root: dict[str, pulumi.Input[str]] = {"type": "disk", "path": "/", "pool": pool.name}
        eth0: dict[str, pulumi.Input[str]] = {"type": "nic", "network": network.name, "ipv4.address": "10.0.0.2"}
        profile = lxd.Profile("profile", lxd=endpoint, name="k8s", devices={"root": root})
        profiles, devices = [profile.name], {"eth0": eth0}
        node = lxd.Instance(
            "instance", lxd=endpoint, name="k3s1", image="ubuntu:22.04", profiles=profiles, devices=devices
        )
        lxd.Identity("identity", node, "ssh-ed25519 AAAAC3")
        port = lxd.Port(protocol="tcp", listen_port=80, target_address="10.0.0.2", target_port=80)
        lxd.Forward("forward", lxd=endpoint, network=network.name, listen_address="192.0.2.1", ports=[port])

    return registered(program)


def entities(graph: Graph) -> dict[str, Registered]:
    return {its.name: its for its in graph if its.custom}


def test_every_resource_is_registered_with_its_options(graph: Graph) -> None:
    assert {name: its.type for name, its in entities(graph).items()} == {
        "project": "pulumi-python:dynamic/lxd:Project",
        "pool": "pulumi-python:dynamic/lxd:StoragePool",
        "network": "pulumi-python:dynamic/lxd:Network",
        "profile": "pulumi-python:dynamic/lxd:Profile",
        "instance": "pulumi-python:dynamic/lxd:Instance",
        "forward": "pulumi-python:dynamic/lxd:Forward",
        "identity": "pulumi-python:dynamic/lxd:Identity",
    }
    for name, its in entities(graph).items():
        if name != "identity":
            assert its.additional_secret_outputs == {"lxd", "former"}
            assert its.delete_before_replace
            assert isinstance(its.inputs["lxd"], Secret)
            assert its.inputs["owner"] == f"cilium-bgp/dev/{name}"
    assert graph["identity"].deleted_with == graph["instance"].urn
    assert [its.name for its in graph if its.protect] == ["network"]


def test_names_order_the_graph(graph: Graph) -> None:
    assert graph.before(graph["instance"]) == {"profile", "pool", "network"}
    assert graph.before(graph["forward"]) == {"network"}


def test_providers_are_in_the_state_by_reference(graph: Graph) -> None:
    for its in entities(graph).values():
        pickled = base64.b64decode(its.inputs["__provider"])
        assert len(pickled) < 120
        assert isinstance(dill.loads(pickled), dynamic.ResourceProvider)
