"""The providers against a real LXD, through their public methods, over a real sshd."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.lxd_topology import k8s_profile
from components.node import SNAPSHOTS
from lxd_resources.entity import Provider
from lxd_resources.errors import LxdError
from lxd_resources.forward import ForwardProvider
from lxd_resources.inputs import Props
from lxd_resources.instance import InstanceProvider
from lxd_resources.network import NetworkProvider
from lxd_resources.profile import ProfileProvider
from lxd_resources.project import ProjectProvider
from lxd_resources.storage_pool import StoragePoolProvider
from tests.lxd.conftest import lxc

pytestmark = pytest.mark.lxd
Query = Callable[..., Any]
Make = Callable[..., Props]
PROJECT = "cilium-bgp-test"


@pytest.fixture
def make(endpoint: Props, project: str) -> Iterator[Make]:
    """Create an entity as the engine would; it is deleted after the test, last first."""
    made: list[tuple[Provider, Props]] = []

    def create(provider: Provider, **inputs: Any) -> Props:
        props = checked(provider, endpoint, **inputs)
        outs = provider.create(props).outs
        assert outs is not None
        made.append((provider, outs))
        return outs

    yield create
    for provider, outs in reversed(made):
        provider.delete("", outs)


def checked(provider: Provider, endpoint: Props, **inputs: Any) -> Props:
    news = {"lxd": endpoint, "owner": "test/test/it", "config": {}, **inputs}
    result = provider.check({}, news)
    assert [(failure.property, failure.reason) for failure in result.failures] == []
    return result.inputs


def unchanged(provider: Provider, outs: Props) -> bool:
    """A refresh finds nothing, and a second `up` has nothing to do."""
    read = provider.read("", outs).outs
    inputs = {key: value for key, value in outs.items() if key not in OUTPUTS}
    return read == outs and not provider.diff("", outs, inputs).changes


OUTPUTS = {"former", "ipv4_address", "mac_address", "status", "ssh_host_key", "pool", "project"}


@pytest.fixture
def pool(make: Make) -> Props:
    return make(StoragePoolProvider(), name="cbtest", driver="dir")


@pytest.fixture
def network(make: Make, subnet: str) -> Props:
    config = {"ipv4.address": f"{subnet}.1/24", "ipv4.nat": True, "ipv6.address": "none"}
    return make(NetworkProvider(), name="cbtest0", type="bridge", config=config)


def node(pool: Props, network: Props, image: str, **inputs: Any) -> Props:
    devices = {
        "root": {"type": "disk", "path": "/", "pool": pool["name"]},
        "eth0": {"type": "nic", "network": network["name"], "name": "eth0"},
    }
    wait_for = ["ipv4", "cloud-init", "ssh-host-key"]
    defaults = {"name": "node1", "image": image, "profiles": ["default"], "devices": devices, "wait_for": wait_for}
    return {**defaults, "files": {}, "login_user": "root", "generation": 1.0, "timeout_seconds": 60.0, **inputs}


def test_a_pool_is_made_and_changed_in_place(make: Make, query: Query) -> None:
    outs = make(StoragePoolProvider(), name="cbtest2", driver="dir", config={"rsync.bwlimit": 100.0})

    assert query("GET", "storage-pools/cbtest2")["config"]["rsync.bwlimit"] == "100"
    assert unchanged(StoragePoolProvider(), outs)

    news = {**outs, "config": {"rsync.bwlimit": "200"}}
    outs = StoragePoolProvider().update("", outs, news).outs or {}
    assert query("GET", "storage-pools/cbtest2")["config"]["rsync.bwlimit"] == "200"
    assert unchanged(StoragePoolProvider(), outs)

    StoragePoolProvider().delete("", outs)
    StoragePoolProvider().delete("", outs)
    assert StoragePoolProvider().read("", outs).id is None


def test_what_is_replaced_under_an_instance_goes_with_it(
    make: Make, pool: Props, network: Props, image: str, query: Query
) -> None:
    profile = make(ProfileProvider(), name="cbtest", devices={})
    outs = make(InstanceProvider(), **node(pool, network, image, profiles=["default", "cbtest"], wait_for=[]))

    StoragePoolProvider().delete("", pool)
    ProfileProvider().delete("", profile)
    assert query("GET", "storage-pools/cbtest")["config"]["user.pulumi.left"] == "true"
    InstanceProvider().delete("", outs)
    assert "/1.0/storage-pools/cbtest" not in query("GET", "storage-pools")
    assert not [url for url in query("GET", f"profiles?project={PROJECT}") if "/cbtest" in url]


def test_an_address_that_lxd_chose_is_no_drift(make: Make) -> None:
    config = {"ipv4.address": "none", "ipv6.address": "auto"}
    outs = make(NetworkProvider(), name="cbtest1", type="bridge", config=config)

    assert outs["ipv4_address"] == "none"
    assert unchanged(NetworkProvider(), outs)


def test_network_keeps_its_address_when_something_else_changes(network: Props, query: Query) -> None:
    news = {**network, "config": {**network["config"], "dns.domain": "test"}}

    outs = NetworkProvider().update("", network, news).outs or {}

    assert outs["ipv4_address"] == network["ipv4_address"] == network["config"]["ipv4.address"]
    assert query("GET", "networks/cbtest0")["config"]["dns.domain"] == "test"
    back = NetworkProvider().update("", outs, network).outs or {}
    assert "dns.domain" not in query("GET", "networks/cbtest0")["config"]
    assert unchanged(NetworkProvider(), back)


def test_drift_is_seen_and_mended(network: Props, query: Query) -> None:
    query("PATCH", "networks/cbtest0", {"config": {"ipv4.nat": "false", "dns.mode": "none"}})

    read = NetworkProvider().read("", network).outs or {}

    assert read["config"] == {**network["config"], "ipv4.nat": "false", "dns.mode": "none"}
    assert NetworkProvider().diff("", read, network).changes
    mended = NetworkProvider().update("", read, network).outs or {}
    assert unchanged(NetworkProvider(), mended)
    assert "dns.mode" not in query("GET", "networks/cbtest0")["config"]


def test_a_project_has_the_features_that_it_was_given(make: Make, query: Query) -> None:
    outs = make(ProjectProvider(), name="cbtestproject", config={"features.images": False})

    assert query("GET", "projects/cbtestproject")["config"]["features.images"] == "false"
    assert unchanged(ProjectProvider(), outs)


def test_profile_default_is_adopted_and_restored(make: Make, pool: Props, query: Query) -> None:
    before: Props = {"config": {"user.mine": "1"}, "devices": {"extra": {"type": "none"}}}
    query("PUT", f"profiles/default?project={PROJECT}", before)
    devices = {"root": {"type": "disk", "path": "/", "pool": pool["name"]}}

    outs = make(ProfileProvider(), name="default", config={"limits.cpu": 1.0}, devices=devices, adopt="update")

    live = query("GET", f"profiles/default?project={PROJECT}")
    assert live["config"]["limits.cpu"] == "1"
    assert live["config"]["user.mine"] == "1"
    assert live["devices"] == {**before["devices"], **devices}
    assert unchanged(ProfileProvider(), outs)
    # A run that was killed before its state was saved comes again.
    again = make(ProfileProvider(), name="default", config={"limits.cpu": 1.0}, devices=devices, adopt="update")
    assert again["former"] == outs["former"]

    ProfileProvider().delete("", again)
    live = query("GET", f"profiles/default?project={PROJECT}")
    assert {key: live[key] for key in before} == before
    query("PUT", f"profiles/default?project={PROJECT}", {"config": {}, "devices": {}})


def test_profile_of_somebody_else_is_left_alone(endpoint: Props, project: str, query: Query) -> None:
    query("POST", f"profiles?project={PROJECT}", {"name": "theirs", "config": {"limits.cpu": "1"}})
    provider = ProfileProvider()

    with pytest.raises(LxdError, match="it exists and is not ours"):
        provider.create(checked(provider, endpoint, name="theirs", devices={}))
    inputs = {"name": "theirs", "devices": {}, "adopt": "if-equal", "config": {"limits.cpu": "2"}}
    with pytest.raises(LxdError, match=r"it exists with another config limits\.cpu"):
        provider.create(checked(provider, endpoint, **inputs))

    assert query("GET", f"profiles/theirs?project={PROJECT}")["config"] == {"limits.cpu": "1"}


def test_an_instance_has_its_address_and_changes_in_place(
    make: Make, pool: Props, network: Props, image: str, subnet: str, query: Query
) -> None:
    devices = {
        "root": {"type": "disk", "path": "/", "pool": pool["name"]},
        "eth0": {"type": "nic", "network": network["name"], "name": "eth0", "ipv4.address": f"{subnet}.11"},
    }
    inputs = node(pool, network, image, devices=devices, config={"limits.cpu": 1.0})
    outs = make(InstanceProvider(), **inputs)

    assert outs["ipv4_address"] == f"{subnet}.11"
    assert outs["status"] == "Running"
    assert outs["ssh_host_key"] == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBAF"
    assert outs["mac_address"].count(":") == 5
    assert unchanged(InstanceProvider(), outs)

    news = {**outs, "config": {"limits.memory": "256MB"}}
    outs = InstanceProvider().update("", outs, news).outs or {}
    config = query("GET", f"instances/node1?project={PROJECT}")["config"]
    assert config["limits.memory"] == "256MB"
    assert "limits.cpu" not in config
    assert config["image.description"] == "test"
    assert unchanged(InstanceProvider(), outs)

    query("PUT", f"instances/node1/state?project={PROJECT}", {"action": "stop", "force": True})
    stopped = InstanceProvider().read("", outs).outs or {}
    assert stopped["status"] == "Stopped"
    assert stopped["ssh_host_key"] == outs["ssh_host_key"]
    assert InstanceProvider().diff("", stopped, news).changes
    assert (InstanceProvider().update("", stopped, news).outs or {})["status"] == "Running"


def test_a_folder_of_the_host_comes_to_an_instance_that_runs_and_goes_again(
    make: Make, pool: Props, network: Props, image: str, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("on the host")
    config = {"security.privileged": "true", "security.nesting": "true", "raw.lxc": k8s_profile("")["raw.lxc"]}
    outs = make(InstanceProvider(), **node(pool, network, image, wait_for=[], config=config))
    folder = {"type": "disk", "source": str(tmp_path), "path": SNAPSHOTS}
    with_it = {**outs, "devices": {**outs["devices"], "snapshots": folder}}
    seen = InstanceProvider().update("", outs, with_it).outs or {}
    inside = ("exec", "--project", PROJECT, outs["name"], "--", "cat", f"{SNAPSHOTS}/kept")
    assert lxc(*inside) == "on the host"
    assert unchanged(InstanceProvider(), seen)
    InstanceProvider().update("", seen, outs)
    with pytest.raises(subprocess.CalledProcessError):
        lxc(*inside)


def test_pool_in_use_says_by_what(make: Make, pool: Props, network: Props, image: str) -> None:
    make(InstanceProvider(), **node(pool, network, image, wait_for=[], owner="test/another/it"))

    with pytest.raises(LxdError, match=rf"it is used by instances/node1\?project={PROJECT}"):
        StoragePoolProvider().delete("", pool)
    with pytest.raises(LxdError, match="it is used by instances/node1"):
        NetworkProvider().delete("", network)


def test_protected_instance_is_not_deleted(make: Make, pool: Props, network: Props, image: str, query: Query) -> None:
    outs = make(InstanceProvider(), **node(pool, network, image, wait_for=[]))
    query("PATCH", f"instances/node1?project={PROJECT}", {"config": {"security.protection.delete": "true"}})

    with pytest.raises(LxdError, match=r"security\.protection\.delete is set"):
        InstanceProvider().delete("", outs)

    query("PATCH", f"instances/node1?project={PROJECT}", {"config": {"security.protection.delete": "false"}})
    assert query("GET", f"instances/node1?project={PROJECT}")["status"] == "Running"


def test_failed_create_leaves_nothing(endpoint: Props, pool: Props, network: Props, image: str, query: Query) -> None:
    provider = InstanceProvider()
    devices = {"root": {"type": "disk", "path": "/", "pool": pool["name"]}}
    inputs = node(pool, network, image, devices=devices, wait_for=["ipv4"], timeout_seconds=4.0)

    with pytest.raises(LxdError, match=r"waited 4 s for an IPv4 address .*; last seen: none, status Running$"):
        provider.create(checked(provider, endpoint, **inputs))

    assert query("GET", f"instances?project={PROJECT}") == []


def test_create_that_was_killed_is_recognised(
    make: Make, endpoint: Props, pool: Props, network: Props, image: str, query: Query
) -> None:
    inputs = node(pool, network, image)
    killed = {**InstanceProvider().creation(checked(InstanceProvider(), endpoint, **inputs))}
    killed["config"] |= {"user.pulumi.owner": "test/test/it"}
    query("POST", f"instances?project={PROJECT}", killed)

    outs = make(InstanceProvider(), **inputs)

    assert outs["status"] == "Running"
    assert unchanged(InstanceProvider(), outs)


def test_unknown_image_is_said(endpoint: Props, pool: Props, network: Props) -> None:
    provider = InstanceProvider()
    with pytest.raises(LxdError, match=r"cannot create instance node1 at 127\.0\.0\.1: .*not found"):
        provider.create(checked(provider, endpoint, **node(pool, network, "local:no-such-image")))


def test_cloud_init_that_failed_is_said_with_its_detail(
    endpoint: Props, pool: Props, network: Props, image: str, query: Query, make: Make
) -> None:
    outs = make(InstanceProvider(), **node(pool, network, image))
    query_file = "status: error\ndetail: ('runcmd', no such file)\n"
    provider = InstanceProvider()
    subprocess.run(
        ["lxc", "exec", "--project", PROJECT, "node1", "--", "sh", "-c", "cat > /etc/cloud-status"],
        input=query_file,
        text=True,
        check=True,
    )

    with pytest.raises(LxdError, match=r"cloud-init ended in error \(status: error; detail: \('runcmd'"):
        provider.update("", outs, outs)


def test_a_forward_has_the_ports_that_it_was_given(make: Make, network: Props, subnet: str, query: Query) -> None:
    ports = [
        {"protocol": "tcp", "listen_port": 8080.0, "target_address": f"{subnet}.11", "target_port": 80.0},
        {"protocol": "tcp", "listen_port": 443.0, "target_address": f"{subnet}.11", "target_port": 443.0},
    ]
    listen = "198.51.100.7"
    outs = make(ForwardProvider(), network=network["name"], listen_address=listen, ports=ports)

    live = query("GET", f"networks/cbtest0/forwards/{listen}")
    assert {port["listen_port"] for port in live["ports"]} == {"8080", "443"}
    assert unchanged(ForwardProvider(), outs)

    news = {**outs, "ports": outs["ports"][:1]}
    outs = ForwardProvider().update("", outs, news).outs or {}
    assert len(query("GET", f"networks/cbtest0/forwards/{listen}")["ports"]) == 1
    assert unchanged(ForwardProvider(), outs)


def test_wrong_host_key_is_refused(endpoint: Props, project: str) -> None:
    other = {**endpoint, "hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGXQ6uQz3ffJ6xWgmzJYnYw3E5mWyu8M0wcCjFS4pF5D"}
    provider = ProfileProvider()
    with pytest.raises(LxdError, match=r"host key of .* is not the pinned one"):
        provider.create(checked(provider, other, name="never", devices={}))


def test_socket_that_is_not_there_is_said(endpoint: Props, project: str) -> None:
    provider = ProfileProvider()
    with pytest.raises(LxdError, match=r"does not open /nowhere/unix\.socket for root"):
        provider.create(checked(provider, {**endpoint, "socket": "/nowhere/unix.socket"}, name="never", devices={}))
