"""The LXD entities that the cluster lives in."""

import json
from typing import Any

import pulumi
import pytest

from settings.keys import public_key
from tests.unit import graph
from tests.unit.graph import (
    DEV,
    HOST_ADDRESS,
    HOST_KEY,
    HOST_PUBLIC_KEY,
    SSH_KEY,
    Registered,
    Secret,
    dev,
    plain,
    program,
    registered,
    stack,
    values,
)

ENTITIES = (
    "topology-pool",
    "topology-bridge",
    "topology-profile-k8s",
    "k3s1",
    "k3s2",
    "k3s3",
)
OWNED = ("lxd", "owner", "__provider")


def asked_for(its: Registered) -> dict[str, Any]:
    return {key: value for key, value in its.inputs.items() if key not in OWNED}


@pytest.mark.parametrize("name", ENTITIES)
def test_every_entity_is_of_the_hosts_lxd_reached_by_ssh_and_that_is_secret(name: str) -> None:
    its = dev()[name]
    assert its.inputs["lxd"] == Secret(
        {
            "host": HOST_ADDRESS,
            "port": 22,
            "user": "root",
            "privateKey": SSH_KEY,
            "hostKey": HOST_KEY,
            "machine": "4711",
            "owned": True,
            "project": "default",
        }
    )
    assert its.additional_secret_outputs == {"lxd", "former"}
    assert its.deleted_with == dev()["host-key"].urn
    assert its.replace_with == set(), "on another machine there is nothing to delete"
    assert its.delete_before_replace


def test_the_pool_and_the_bridge_are_the_articles() -> None:
    assert dev()["topology-pool"].type == "pulumi-python:dynamic/lxd:StoragePool"
    assert asked_for(dev()["topology-pool"]) == {
        "name": "default",
        "driver": "dir",
        "config": {},
        "adopt": "if-equal",
    }
    assert dev()["topology-bridge"].type == "pulumi-python:dynamic/lxd:Network"
    assert asked_for(dev()["topology-bridge"]) == {
        "name": "lxdbr0",
        "type": "bridge",
        "config": {
            "ipv4.address": "10.26.23.1/24",
            "ipv4.nat": "true",
            "ipv4.dhcp.ranges": "10.26.23.64-10.26.23.254",
            "ipv6.address": "none",
        },
        "adopt": "if-equal",
    }


def test_nodes_have_a_profile_and_keys_of_their_own() -> None:
    profiles = [its for its in dev() if its.type == "pulumi-python:dynamic/lxd:Profile"]
    (profile,) = profiles
    assert profile.inputs["name"] == "k8s", "others' instances may have the profile default"
    assert {tuple(dev()[node].inputs["profiles"]) for node in ("k3s1", "k3s2", "k3s3")} == {("k8s",)}
    head, body = dev()["k3s2"].inputs["config"]["cloud-init.user-data"].split("\n", 1)
    assert head == "#cloud-config"
    assert json.loads(body) == {"ssh_authorized_keys": [public_key(SSH_KEY), HOST_PUBLIC_KEY]}


def test_the_k8s_profile_is_microk8s_without_the_shared_bpf_filesystem() -> None:
    asked = asked_for(dev()["topology-profile-k8s"])
    config = asked["config"]
    assert config["security.nesting"] == config["security.privileged"] == "true"
    assert config["linux.kernel_modules"] == "ip_vs,ip_vs_rr", "those that the host could load"
    assert set(config["raw.lxc"].split("\n")) == {
        "lxc.apparmor.profile=unconfined",
        "lxc.mount.auto=proc:rw sys:rw cgroup:rw",
        "lxc.cgroup.devices.allow=a",
        "lxc.cgroup2.devices.allow=a",
        "lxc.cap.drop=",
    }
    assert set(config) == {"security.nesting", "security.privileged", "linux.kernel_modules", "raw.lxc"}
    assert asked["devices"]["kmsg"] == {"type": "unix-char", "source": "/dev/kmsg", "path": "/dev/kmsg"}
    assert "/sys/fs/bpf" not in str(asked)
    assert (asked["name"], asked["adopt"]) == ("k8s", "if-equal")


def test_a_host_with_all_modules_built_in_lists_none() -> None:
    from components.lxd_topology import k8s_profile

    assert "linux.kernel_modules" not in k8s_profile("")


@pytest.mark.parametrize(("name", "address"), [("k3s2", "10.26.23.12"), ("k3s3", "10.26.23.13")])
def test_a_node_has_its_fixed_address_and_the_profile(name: str, address: str) -> None:
    assert dev()[name].type == "pulumi-python:dynamic/lxd:Instance"
    asked = asked_for(dev()[name])
    assert asked.pop("config").keys() == {"cloud-init.user-data"}
    assert asked == {
        "name": name,
        "image": "ubuntu:22.04",
        "profiles": ["k8s"],
        "devices": {
            "eth0": {"type": "nic", "name": "eth0", "network": "lxdbr0", "ipv4.address": address},
            "root": {"type": "disk", "path": "/", "pool": "default"},
        },
        "files": {"~/.ssh/authorized_keys": f"{public_key(SSH_KEY)}\n{HOST_PUBLIC_KEY}\n"},
        "login_user": "ubuntu",
        "generation": 1,
        "wait_for": ["ipv4", "cloud-init", "ssh-host-key"],
        "timeout_seconds": 600,
    }
    assert {"topology-pool", "topology-profile-k8s", "topology-bridge"} <= dev().before(dev()[name])


def test_who_may_enter_is_written_into_each_node_and_on_the_host() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgYnkgdGhlIHByZXZpZXcgb25seSEhISEhISEh"
    its = stack(values(authorizedKeys=[f"{key} me@laptop", public_key(SSH_KEY)]))
    written = f"{public_key(SSH_KEY)}\n{key}\n{HOST_PUBLIC_KEY}\n"
    for name in ("k3s1", "k3s2", "k3s3"):
        assert its[name].inputs["files"] == {"~/.ssh/authorized_keys": written}
    ran = its["access-authorized-keys"].ran()
    assert (ran.file, ran.parameters) == ("authorized_keys.sh", ("root", "own", public_key(SSH_KEY), key))
    assert "preflight-host" in its.before(its["access-authorized-keys"])


ANEW = {
    name: {"role": role, "address": f"10.26.23.{place}", "generation": generation}
    for place, (name, role, generation) in enumerate(
        [("a1", "agent", 1), ("a2", "agent", 3), ("a3", "agent", 1), ("a4", "agent", 2), ("s1", "server", 1)], start=11
    )
}


def test_of_nodes_that_are_made_anew_one_waits_until_the_other_is_in_the_cluster() -> None:
    its = stack(values(nodes=ANEW))
    assert [its[name].inputs["generation"] for name in ANEW] == [1, 3, 1, 2, 1]
    joined = {name: {before for before in its.before(its[name]) if before.endswith("-joined")} for name in ANEW}
    assert joined == {"a1": set(), "a2": set(), "a3": set(), "a4": {"a2-joined", "s1-joined"}, "s1": set()}
    servers = {f"s{n}": {"role": "server", "address": f"10.26.23.2{n}", "generation": 2} for n in (1, 2, 3)}
    its = stack(values(nodes=servers))
    assert "s1-k3s-server" in its.before(its["s2"])
    assert "s2-joined" in its.before(its["s3"])


def test_a_node_of_the_old_kind_is_named_with_what_makes_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", said.append)
    registered(program(DEV))
    assert said == []

    made_of = {"image": "ubuntu:20.04", "pool": "old"}
    known = graph.answer
    monkeypatch.setattr(
        graph, "answer", lambda its: {**known(its), **(made_of if its.name in ("k3s2", "k3s2-identity") else {})}
    )
    registered(program(DEV))
    assert said == [
        "k3s2 is of lxd.image ubuntu:20.04, lxd.storagePool.name old; what is configured now is for nodes that are "
        "made from now on. nodes.k3s2.generation: 2 makes it anew"
    ]


def test_nodes_are_protected_by_configuration() -> None:
    protected = stack(values(protect=True))
    assert {its.name for its in protected if its.protect} == {"host-instance", "k3s1", "k3s2", "k3s3"}
    assert {its.name for its in dev() if its.protect} == set()


def test_a_project_of_its_own_comes_before_all_that_is_in_it() -> None:
    its = stack(values(lxd={"project": "lab"}))
    project = its["topology-project"]
    assert project.type == "pulumi-python:dynamic/lxd:Project"
    assert asked_for(project) == {
        "name": "lab",
        "config": {"features.images": "false", "features.profiles": "true", "features.storage.volumes": "true"},
        "adopt": "if-equal",
    }
    assert plain(project.inputs["lxd"])["project"] == "lab"
    for name in ENTITIES:
        assert "topology-project" in its.before(its[name])
        assert plain(its[name].inputs["lxd"])["project"] == "lab"
        assert isinstance(its[name].inputs["lxd"], Secret)
    assert "topology-project" not in {its.name for its in dev()}


def test_nodes_are_reached_through_the_host_with_the_host_keys_that_lxd_read() -> None:
    connection = dev()["k3s2-mounts"].inputs["connection"]
    host = {"host": HOST_ADDRESS, "port": 22, "user": "root", "privateKey": SSH_KEY, "hostKey": HOST_KEY}
    limits = {"dialErrorLimit": 8, "perDialTimeout": 15}
    assert connection == Secret(
        {
            "host": "10.26.23.12",
            "port": 22,
            "user": "ubuntu",
            "privateKey": SSH_KEY,
            "hostKey": "ssh-ed25519 AAAAk3s2",
            "proxy": {**host, **limits},
            **limits,
        }
    )


def test_it_gives_role_and_address_of_every_node() -> None:
    addresses = {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12", "k3s3": "10.26.23.13"}
    assert dev().outputs_of("topology") == {"nodes": addresses}
    assert dev().outputs["nodes"] == {
        name: {"role": "server" if name == "k3s1" else "agent", "address": address}
        for name, address in addresses.items()
    }
    assert plain(dev().outputs["ssh_commands"])["k3s2"] == f"ssh root@{HOST_ADDRESS} -t ssh ubuntu@10.26.23.12"
