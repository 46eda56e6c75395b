"""The LXD providers, through their public methods and a real SSH connection, against a pretend LXD that misbehaves."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from lxd_resources import client, entity, instance, transport
from lxd_resources import endpoint as lxd_endpoint
from lxd_resources.entity import OWNER, Provider
from lxd_resources.errors import LxdError
from lxd_resources.forward import ForwardProvider
from lxd_resources.instance import InstanceProvider
from lxd_resources.network import NetworkProvider
from lxd_resources.profile import ProfileProvider
from lxd_resources.project import ProjectProvider
from lxd_resources.storage_pool import StoragePoolProvider
from simulator.lxd_api import Guests, How, Json, LxdApi
from tests.unit import ssh

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
OUTPUTS = {"former", "ipv4_address", "mac_address", "status", "ssh_host_key", "pool", "project"}
OURS = "p/s/it"


class Machine:
    """An SSH server that forwards to any Unix socket, while it does not `refuse` so many connections."""

    port: int

    def __init__(self) -> None:
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.refuse = 0

    def login(self) -> asyncssh.SSHServer:
        machine = self

        class Login(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                machine.connections.append(conn)
                if machine.refuse:
                    machine.refuse -= 1
                    conn.abort()

            def unix_connection_requested(self, dest_path: str) -> bool:
                return True

        return Login()

    async def drop(self) -> None:
        for connection in self.connections:
            connection.abort()
        self.connections.clear()


class Nodes(Guests):
    """Instances whose insides a test chooses."""

    def __init__(self) -> None:
        self.reports = ["status: running\n", "status: done\n"]
        self.heeds = True
        self.content: dict[str, str] | None = None
        self.on_start: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None

    def started(self, instance: Json) -> None:
        self.on_start()

    def stopped(self, instance: Json) -> None:
        self.on_stop()

    def files(self, instance: Json) -> dict[str, str]:
        return super().files(instance) if self.content is None else self.content

    def write(self, instance: Json, path: str, text: str) -> None:
        assert self.content is not None
        self.content[path] = text

    def execute(self, instance: Json, command: list[str]) -> tuple[int, str]:
        return 0, self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]

    def stops(self, instance: Json) -> bool:
        return self.heeds


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = Machine()
    with ssh.serving(HOST_KEY, server_factory=machine.login) as machine.port:
        yield machine
        ssh.call(machine.drop())


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def api(nodes: Nodes, tmp_path: Path) -> Iterator[LxdApi]:
    api = LxdApi(nodes)
    api.add("networks", "lxdbr0", {"type": "bridge", "config": {"ipv4.address": "10.26.23.1/24"}})
    api.add("storage-pools", "default", {"driver": "dir"})
    server = api.serve(str(tmp_path / "lxd"))
    yield api
    api.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity, "_said", set())
    monkeypatch.setattr(lxd_endpoint, "_ways", {})
    monkeypatch.setattr(client, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(client, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(Provider, "seconds", 20.0)
    monkeypatch.setattr(instance, "STOP_SECONDS", 1)


@pytest.fixture
def endpoint(machine: Machine, api: LxdApi, tmp_path: Path) -> Json:
    return {
        "host": "127.0.0.1",
        "port": float(machine.port),
        "user": "root",
        "privateKey": ssh.USER_KEY.export_private_key().decode(),
        "hostKey": ssh.public(HOST_KEY),
        "socket": str(tmp_path / "lxd"),
        "project": "default",
    }


class Stack:
    """Drives a provider as the engine does, and keeps what the engine keeps."""

    def __init__(self, endpoint: Json, provider: Provider, **inputs: Any) -> None:
        self.provider = provider
        self.given = {"lxd": endpoint, "owner": OURS, "config": {}, **inputs}
        self.outs: Json = {}

    def inputs(self, **changes: Any) -> Json:
        self.given |= changes
        result = self.provider.check({}, self.given)
        assert result.failures == []
        return result.inputs

    def create(self) -> Json:
        self.outs = self.provider.create(self.inputs()).outs or {}
        return self.outs

    def update(self, **changes: Any) -> Json:
        news = self.inputs(**changes)
        assert self.provider.diff("", self.outs, news).changes
        self.outs = self.provider.update("", self.outs, news).outs or {}
        return self.outs

    def refresh(self) -> Json | None:
        """None when the entity is gone."""
        result = self.provider.read("id", self.outs)
        self.outs = result.outs or {}
        return self.outs if result.id else None

    def delete(self) -> None:
        self.provider.delete("", self.outs)

    def is_settled(self) -> bool:
        """A refresh finds nothing, and the next run has nothing to do."""
        before = self.outs
        return self.refresh() == before and not self.provider.diff("", self.outs, self.inputs()).changes


POOL = {"name": "pool", "driver": "dir", "adopt": "never"}
NETWORK = {"name": "br1", "type": "bridge", "adopt": "never"}
PROFILE = {"name": "k8s", "devices": {}, "adopt": "never"}
PROJECT = {"name": "cilium", "adopt": "never"}
PORT = {"protocol": "tcp", "listen_port": 8080.0, "target_address": "10.26.23.2", "target_port": 80.0}
FORWARD = {"network": "lxdbr0", "listen_address": "192.0.2.1", "ports": [PORT]}
ETH0 = {"type": "nic", "network": "lxdbr0", "name": "eth0"}
ROOT = {"type": "disk", "path": "/", "pool": "default"}
INSTANCE = {
    "name": "k3s1",
    "image": "ubuntu:22.04",
    "profiles": ["default"],
    "devices": {"eth0": ETH0, "root": ROOT},
    "files": {},
    "login_user": "ubuntu",
    "generation": 1.0,
    "wait_for": ["ipv4", "cloud-init", "ssh-host-key"],
    "timeout_seconds": 20.0,
}
SIMPLE: list[tuple[Provider, Json, tuple[str, str, str]]] = [
    (StoragePoolProvider(), POOL, ("storage-pools", "", "pool")),
    (NetworkProvider(), NETWORK, ("networks", "", "br1")),
    (ProfileProvider(), PROFILE, ("profiles", "default", "k8s")),
    (ProjectProvider(), PROJECT, ("projects", "", "cilium")),
    (ForwardProvider(), FORWARD, ("forwards", "", "lxdbr0/192.0.2.1")),
    (InstanceProvider(), INSTANCE, ("instances", "default", "k3s1")),
]
each_kind = pytest.mark.parametrize(("provider", "inputs", "key"), SIMPLE, ids=[kind.kind for kind, *_ in SIMPLE])
Key = tuple[str, str, str]


def paths(key: Key) -> tuple[str, str]:
    """Of the entity, and where it is created."""
    path = f"networks/{key[2].replace('/', '/forwards/')}" if key[0] == "forwards" else f"{key[0]}/{key[2]}"
    return path, path.rpartition("/")[0]


@each_kind
def test_an_entity_is_made_changed_and_deleted(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key
) -> None:
    stack = Stack(endpoint, provider, **inputs)

    stack.create()
    assert api.entities[key]["config"][OWNER] == OURS
    assert stack.is_settled()

    stack.update(config={"user.a": 1.0})
    assert api.entities[key]["config"]["user.a"] == "1"
    assert stack.is_settled()

    stack.update(config={})
    assert "user.a" not in api.entities[key]["config"]
    assert stack.is_settled()

    stack.delete()
    assert key not in api.entities
    stack.delete()
    assert stack.refresh() is None


@each_kind
def test_drift_is_seen_and_mended(endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key) -> None:
    stack = Stack(endpoint, provider, **{"config": {"user.a": "1", "user.b": "1"}, **inputs})
    stack.create()
    volatile = [f"{prefix}x" for prefix in provider.server_set if prefix.endswith(".")]
    api.entities[key]["config"] |= {"user.a": "2", "user.new": "1", **dict.fromkeys(volatile, "1")}
    del api.entities[key]["config"]["user.b"]

    seen = stack.refresh() or {}

    assert seen["config"] == {"user.a": "2", "user.new": "1"}
    stack.update()
    assert api.entities[key]["config"]["user.b"] == "1"
    assert "user.new" not in api.entities[key]["config"]
    assert stack.is_settled()


@each_kind
@pytest.mark.parametrize("how", ["refuse-after", "drop", "hang"])
def test_a_create_that_is_cut_off_survives_or_leaves_nothing(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key, how: How
) -> None:
    stack = Stack(endpoint, provider, **inputs)
    api.fail("POST", paths(key)[1], how)

    if how == "refuse-after":
        with pytest.raises(LxdError, match="pretended failure"):
            stack.create()
        assert key not in api.entities

    stack.create()
    assert stack.is_settled()


@each_kind
@pytest.mark.parametrize("how", ["refuse", "refuse-after", "drop", "conflict"])
def test_an_update_that_fails_is_right_after_the_next(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key, how: How
) -> None:
    stack = Stack(endpoint, provider, **inputs)
    stack.create()
    api.fail("PUT", paths(key)[0], how)

    if how in ("refuse", "refuse-after"):
        with pytest.raises(LxdError, match=f"^cannot update {provider.kind} .* at 127.0.0.1: pretended failure"):
            stack.update(config={"user.a": "1"})
    stack.update(config={"user.a": "1"})

    assert api.entities[key]["config"]["user.a"] == "1"
    assert stack.is_settled()


@each_kind
@pytest.mark.parametrize("how", ["refuse", "refuse-after", "drop", "hang"])
def test_a_delete_that_fails_is_right_after_the_next(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key, how: How
) -> None:
    stack = Stack(endpoint, provider, **inputs)
    stack.create()
    api.fail("DELETE", paths(key)[0], how)

    if how in ("refuse", "refuse-after"):
        with pytest.raises(LxdError, match="pretended failure"):
            stack.delete()
    stack.delete()

    assert key not in api.entities


@each_kind
def test_run_after_a_killed_one_recognises_its_own(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key
) -> None:
    Stack(endpoint, provider, **inputs).create()
    stack = Stack(endpoint, provider, **inputs)

    stack.create()

    assert stack.is_settled()
    stack.delete()
    assert key not in api.entities


@each_kind
def test_what_belongs_to_others_is_left_alone(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key
) -> None:
    theirs = Stack(endpoint, provider, **{**inputs, "owner": "p/s/theirs"})
    theirs.create()
    stack = Stack(endpoint, provider, **inputs)

    with pytest.raises(LxdError, match=f"exists and belongs to p/s/theirs; destroy it there, or unset its {OWNER}"):
        stack.create()
    # The same, when ours was deleted behind our back and theirs took its name.
    stack.outs = {**stack.inputs(), "former": ""}
    assert stack.refresh() is None
    stack.outs = {**stack.inputs(), "former": ""}
    stack.delete()

    assert theirs.is_settled()


@each_kind
def test_create_of_what_somebody_made_by_hand_is_refused(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key
) -> None:
    stack = Stack(endpoint, provider, **inputs)
    stack.create()
    for mark in [mark for mark in api.entities[key]["config"] if mark.startswith("user.pulumi")]:
        del api.entities[key]["config"][mark]

    with pytest.raises(LxdError, match="it exists ") as caught:
        stack.create()
    assert "adopt" not in str(caught.value), "a word of the program's, not of the configuration"


@each_kind
def test_update_of_what_is_gone_makes_it(
    endpoint: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key
) -> None:
    stack = Stack(endpoint, provider, **inputs)
    stack.create()
    del api.entities[key]

    stack.update(config={"user.a": "1"})

    assert api.entities[key]["config"]["user.a"] == "1"
    assert stack.is_settled()
    stack.delete()
    assert key not in api.entities, "what the stack has made is the stack's to delete"


# Another machine


@pytest.fixture
def elsewhere(endpoint: Json) -> Json:
    """The endpoint as it was when another machine answered there."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    return {**endpoint, "hostKey": other}


@each_kind
@pytest.mark.parametrize("there", ["nothing", "ours"])
def test_update_on_another_machine_makes_what_is_missing(
    endpoint: Json, elsewhere: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key, there: str
) -> None:
    if there == "ours":  # the same machine with a new host key
        Stack(endpoint, provider, **{"config": {"user.a": "0"}, **inputs}).create()
    stack = Stack(elsewhere, provider, **inputs)
    stack.outs = {**stack.inputs(), "former": "{}", "status": "Running"}
    before = api.entities.get(key)

    stack.update(lxd=endpoint, config={"user.a": "1"})

    assert api.entities[key]["config"]["user.a"] == "1"
    assert api.entities[key] is before or there == "nothing"
    assert stack.outs["former"] == ""
    assert stack.is_settled()


@each_kind
def test_what_is_on_another_machine_is_not_there(
    elsewhere: Json, api: LxdApi, provider: Provider, inputs: Json, key: Key, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything sent to who shows another key."""
    stack = Stack(elsewhere, provider, **inputs)
    stack.outs = {**stack.inputs(), "former": ""}

    stack.delete()
    assert stack.refresh() is None

    assert api.requests == []
    said = capfd.readouterr().err.splitlines()
    assert "is not the pinned one: another machine answers, or somebody is between you and it" in said[0]
    assert [line.rpartition(". ")[2] for line in said] == [
        "What was on the machine is taken for gone",
        "What was on the machine is not there",
    ]


def test_a_make_that_fails_elsewhere_leaves_nothing(endpoint: Json, elsewhere: Json, api: LxdApi) -> None:
    stack = Stack(elsewhere, ProfileProvider(), **PROFILE)
    stack.outs = {**stack.inputs(), "former": ""}
    api.fail("POST", "profiles", "refuse-after")

    with pytest.raises(LxdError, match=r"cannot update profile k8s at 127\.0\.0\.1: pretended failure"):
        stack.update(lxd=endpoint)

    assert ("profiles", "default", "k8s") not in api.entities


def test_what_another_run_has_got_ready_is_not_removed_when_this_one_fails(
    endpoint: Json, api: LxdApi, nodes: Nodes
) -> None:
    Stack(endpoint, InstanceProvider(), **INSTANCE).create()
    nodes.reports = ["status: error\n"]

    with pytest.raises(LxdError, match="cloud-init ended in error"):
        Stack(endpoint, InstanceProvider(), **INSTANCE).create()

    assert api.entities["instances", "default", "k3s1"]["status"] == "Running"


def test_a_machine_of_the_stacks_own_that_is_silent_takes_all_with_it(
    endpoint: Json, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = Stack({**endpoint, "port": 1.0, "machine": "4711", "owned": True}, ProfileProvider(), **PROFILE)
    stack.outs = before = {**stack.inputs(), "former": ""}

    assert stack.refresh() == before, "whether it is gone only the cloud knows"
    stack.delete()

    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith("What is on the machine is left as it was seen last")
    assert second.endswith("What was on the machine is taken for gone")


def test_a_machine_that_is_given_up_takes_all_with_it(endpoint: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_BGP_DELETE_UNREACHABLE", "true")
    for wrong in ({"port": 1.0}, {"socket": "/nowhere"}):
        stack = Stack({**endpoint, **wrong}, ProfileProvider(), **PROFILE)
        stack.outs = {**stack.inputs(), "former": ""}
        stack.delete()
        assert stack.refresh() is None


def test_an_lxd_that_is_silent_on_a_machine_that_answers_is_not_gone(endpoint: Json) -> None:
    stack = Stack({**endpoint, "socket": "/nowhere", "owned": True}, ProfileProvider(), **PROFILE)
    stack.outs = {**stack.inputs(), "former": ""}

    with pytest.raises(LxdError, match="is LXD running"):
        stack.delete()
    with pytest.raises(LxdError, match="is LXD running"):
        stack.refresh()


def test_what_goes_goes_by_the_way_that_its_machine_has_today(endpoint: Json, api: LxdApi) -> None:
    """An address or a private key that has changed since, while others of the machine are updated in the same run."""
    gone, stays = Stack(endpoint, ProfileProvider(), **PROFILE), Stack(endpoint, NetworkProvider(), **NETWORK)
    gone.create()
    stays.create()
    for stack in (gone, stays):
        stack.outs["lxd"] = {**endpoint, "port": 1.0, "project": "default"}

    was = dict(stays.outs)
    stays.update(lxd=endpoint)
    stays.provider.diff("", was, was)  # as the engine asks about what a replacement takes along
    gone.delete()

    assert ("profiles", "default", "k8s") not in api.entities


@pytest.mark.parametrize("adopt", ["update", "if-equal"])
def test_adopted_entity_gets_its_former_content_back(endpoint: Json, api: LxdApi, adopt: str) -> None:
    former = {"config": {"user.a": "1", "user.b": "1"}, "devices": {"root": ROOT, "x": {"type": "none"}}}
    key = ("profiles", "default", "default")
    api.add("profiles", "default", former)
    config = {"user.b": "1"} if adopt == "if-equal" else {"user.b": "2", "user.c": "1"}
    inputs = {"name": "default", "devices": {"root": ROOT}, "config": config, "adopt": adopt}
    stack = Stack(endpoint, ProfileProvider(), **inputs)

    stack.create()
    assert api.entities[key]["config"].items() >= {"user.a": "1", **config}.items()
    assert api.entities[key]["devices"] == former["devices"]
    assert stack.is_settled()

    killed_before = Stack(endpoint, ProfileProvider(), **inputs)
    assert killed_before.create()["former"] == stack.outs["former"]
    killed_before.update(config={"user.c": "2"})
    assert api.entities[key]["config"]["user.b"] == "1"

    killed_before.delete()
    assert {field: api.entities[key][field] for field in former} == former
    killed_before.delete()


def test_a_project_that_is_there_keeps_its_features(endpoint: Json, api: LxdApi) -> None:
    former = {"features.images": "true", "features.profiles": "true", "user.a": "1"}
    api.add("projects", "cilium", {"config": dict(former)})
    api.add("profiles", "theirs", {"config": {}, "devices": {}}, project="cilium")
    config = {"features.images": "false", "features.profiles": "true", "user.b": "1"}
    stack = Stack(endpoint, ProjectProvider(), **{**PROJECT, "config": config, "adopt": "if-equal"})
    stack.create()
    assert api.entities["projects", "", "cilium"]["config"].items() >= {**former, "user.b": "1"}.items()
    assert stack.is_settled()
    stack.delete()
    assert api.entities["projects", "", "cilium"]["config"] == former


def test_adopted_network_gets_its_address_back(endpoint: Json, api: LxdApi) -> None:
    key = ("networks", "", "lxdbr0")
    api.entities[key]["config"] |= {"volatile.bridge.hwaddr": "00:16:3e:00:00:01"}
    former = dict(api.entities[key]["config"])
    config = {"ipv4.address": "10.1.0.1/24", "volatile.bridge.hwaddr": "00:16:3e:00:00:01"}
    stack = Stack(endpoint, NetworkProvider(), **{**NETWORK, "name": "lxdbr0", "adopt": "update", "config": config})

    assert stack.create()["ipv4_address"] == "10.1.0.1/24"
    stack.delete()

    assert api.entities[key]["config"] == former


def test_adopted_entity_that_cannot_be_changed_is_restored(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, ProfileProvider(), **{**PROFILE, "name": "default", "adopt": "update"})
    api.fail("PUT", "profiles/default", "refuse-after")

    with pytest.raises(LxdError, match="pretended failure"):
        stack.create()

    assert api.entities["profiles", "default", "default"]["config"] == {}


def test_adopt_if_equal_names_the_difference(endpoint: Json, api: LxdApi) -> None:
    api.add("profiles", "k8s", {"config": {"limits.cpu": "1"}, "devices": {}})
    inputs = {**PROFILE, "config": {"limits.cpu": "2"}, "devices": {"root": ROOT}, "adopt": "if-equal"}

    with pytest.raises(LxdError, match=r"exists with another config limits\.cpu, devices root; choose another name"):
        Stack(endpoint, ProfileProvider(), **inputs).create()


def test_pool_of_another_driver_is_not_adopted(endpoint: Json, api: LxdApi) -> None:
    api.add("storage-pools", "pool", {"driver": "zfs"})

    with pytest.raises(LxdError, match="it exists with driver zfs; choose another name, or delete it"):
        Stack(endpoint, StoragePoolProvider(), **{**POOL, "adopt": "update"}).create()


def test_own_instance_of_another_generation_is_made_anew(endpoint: Json, api: LxdApi) -> None:
    """A run was killed in create, then the program's generation changed."""
    Stack(endpoint, InstanceProvider(), **INSTANCE).create()
    old = api.entities["instances", "default", "k3s1"]

    Stack(endpoint, InstanceProvider(), **{**INSTANCE, "generation": 2.0}).create()

    new = api.entities["instances", "default", "k3s1"]
    assert new is not old
    assert new["config"]["user.pulumi.generation"] == "2"


def test_network_address_that_lxd_chose_is_no_drift(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, NetworkProvider(), **NETWORK, config={"ipv4.address": "auto"})

    assert stack.create()["ipv4_address"] == "10.99.0.1/24"
    assert stack.is_settled()
    stack.update(config={"ipv4.address": "auto", "user.a": "1"})
    assert stack.outs["ipv4_address"] == "10.99.0.1/24"


def test_changed_endpoint_needs_no_write(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, ProfileProvider(), **PROFILE)
    stack.create()
    api.requests.clear()

    outs = stack.update(lxd={**endpoint, "host": "localhost"})

    assert outs["lxd"]["host"] == "localhost"
    assert {method for method, _ in api.requests} == {"GET"}


@pytest.mark.parametrize(
    ("provider", "inputs", "path"),
    [(StoragePoolProvider(), POOL, "pool"), (ProfileProvider(), PROFILE, "k8s")],
)
def test_entity_in_use_says_by_what(endpoint: Json, provider: Provider, inputs: Json, path: str) -> None:
    stack = Stack(endpoint, provider, **inputs)
    stack.create()
    devices = {"root": {**ROOT, "pool": "pool"}} if path == "pool" else INSTANCE["devices"]
    profiles = ["k8s"] if path == "k8s" else []
    user = {**INSTANCE, "profiles": profiles, "devices": devices, "wait_for": [], "owner": "p/another/it"}
    Stack(endpoint, InstanceProvider(), **user).create()

    with pytest.raises(LxdError, match=rf"^cannot delete .*{path} .*in use; it is used by instances/k3s1: remove "):
        stack.delete()


def test_what_is_replaced_under_our_instances_goes_with_the_last_of_them(endpoint: Json, api: LxdApi) -> None:
    """Pool, project and profiles: those that are there keep them, new ones are made elsewhere."""
    inside = {**endpoint, "project": "cilium"}
    pool, project = Stack(endpoint, StoragePoolProvider(), **POOL), Stack(endpoint, ProjectProvider(), **PROJECT)
    profile = Stack(inside, ProfileProvider(), **PROFILE)
    default = Stack(
        inside, ProfileProvider(), **{**PROFILE, "name": "default", "adopt": "update"}, config={"user.a": "1"}
    )
    devices = {"eth0": ETH0, "root": {**ROOT, "pool": "pool"}}
    node = Stack(inside, InstanceProvider(), **{**INSTANCE, "devices": devices, "profiles": ["default", "k8s"]})
    for stack in (pool, project, profile, default, node):
        stack.create()

    for stack in (pool, default, profile, project):
        stack.delete()

    assert {("storage-pools", "", "pool"), ("projects", "", "cilium"), ("profiles", "cilium", "k8s")} <= {*api.entities}
    assert api.entities["profiles", "cilium", "default"]["config"] == {}
    node.delete()
    assert not [key for key in api.entities if "cilium" in key or "pool" in key]


def test_a_profile_whose_disk_our_instances_have_stays_as_it_is_until_they_go(endpoint: Json, api: LxdApi) -> None:
    """As earlier versions have made them: neither another pool nor a deletion takes their disk away."""
    api.add("storage-pools", "another", {"driver": "dir"})
    given = {**PROFILE, "name": "default", "adopt": "update", "devices": {"root": ROOT}}
    profile = Stack(endpoint, ProfileProvider(), **given)
    profile.create()
    node = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "devices": {"eth0": ETH0}, "profiles": ["default"]})
    node.create()
    key = ("profiles", "default", "default")

    elsewhere = {"root": {**ROOT, "pool": "another"}}
    assert not profile.provider.diff("", profile.outs, profile.inputs(devices=elsewhere)).changes
    profile.update(devices=elsewhere, config={"user.a": "1"})
    assert api.entities[key]["devices"] == {"root": ROOT}
    profile.delete()
    assert api.entities[key]["devices"] == {"root": ROOT}
    node.delete()
    assert (api.entities[key]["devices"], api.entities[key]["config"]) == ({}, {})


def test_what_others_use_is_not_left_but_said(endpoint: Json, api: LxdApi) -> None:
    pool = Stack(endpoint, StoragePoolProvider(), **POOL)
    pool.create()
    api.add("instances", "theirs", {"devices": {"root": {**ROOT, "pool": "pool"}}, "profiles": [], "status": "Stopped"})

    with pytest.raises(LxdError, match="it is used by instances/theirs: remove those first"):
        pool.delete()


def test_project_with_an_image_that_lxd_cached_is_deleted(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, ProjectProvider(), **PROJECT)
    stack.create()
    api.add("images", "f00d", {"cached": True}, project="cilium")
    api.add("images", "beef", {"cached": False}, project="cilium")

    with pytest.raises(LxdError, match=r"used by .*images/beef\?project=cilium"):
        stack.delete()
    del api.entities["images", "cilium", "beef"]
    stack.delete()

    assert ("images", "cilium", "f00d") not in api.entities


def test_ports_of_a_forward_are_put_back(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, ForwardProvider(), **FORWARD)
    stack.create()
    stack.update(ports=[PORT, {**PORT, "listen_port": 443.0}])
    assert stack.is_settled()
    api.entities["forwards", "", "lxdbr0/192.0.2.1"]["ports"].pop()

    seen = stack.refresh() or {}

    assert len(seen["ports"]) == 1
    stack.update()
    assert stack.is_settled()


# Instances


def test_an_instance_is_made_with_its_address_and_host_key_known(endpoint: Json, api: LxdApi) -> None:
    devices = {"root": ROOT, "eth0": {**ETH0, "ipv4.address": "10.26.23.11"}}
    outs = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "devices": devices}).create()

    assert outs["ipv4_address"] == "10.26.23.11"
    assert outs["ssh_host_key"] == "ssh-ed25519 AAAAk3s1"
    assert outs["mac_address"].startswith("00:16:3e")
    assert outs["status"] == "Running"
    assert api.logs == {}


@pytest.mark.parametrize(
    ("image", "source"),
    [
        ("ubuntu:22.04", {"protocol": "simplestreams", "server": "https://cloud-images.ubuntu.com/releases/"}),
        ("images:debian/12", {"protocol": "simplestreams", "server": "https://images.lxd.canonical.com"}),
        ("local:mine:1", {}),
    ],
)
def test_an_image_comes_from_the_server_that_its_name_says(
    endpoint: Json, api: LxdApi, image: str, source: Json
) -> None:
    api.add("images", "mine:1", {})
    Stack(endpoint, InstanceProvider(), **{**INSTANCE, "image": image, "wait_for": []}).create()

    created = api.entities["instances", "default", "k3s1"]["source"]
    assert created == {"type": "image", "alias": image.partition(":")[2], **source}


@pytest.mark.parametrize("how", ["lose", "slow", "break"])
def test_an_operation_that_is_lost_or_slow_makes_the_instance(endpoint: Json, api: LxdApi, how: How) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    api.fail("POST", "instances", how)

    if how == "break":
        with pytest.raises(LxdError, match="pretended failure of the operation"):
            stack.create()
        assert ("instances", "default", "k3s1") not in api.entities

    stack.create()
    assert stack.is_settled()


def test_an_image_that_is_not_there_is_told(endpoint: Json) -> None:
    with pytest.raises(LxdError, match=r'cannot create instance k3s1 at 127\.0\.0\.1: Image "nothing" not found'):
        Stack(endpoint, InstanceProvider(), **{**INSTANCE, "image": "local:nothing"}).create()


@pytest.mark.parametrize(
    ("wait_for", "message"),
    [
        ("ipv4", "waited 0.5 s for an IPv4 address on a network device; last seen: none, status Running"),
        ("cloud-init", "waited 0.5 s for cloud-init to end; last seen: running"),
        ("ssh-host-key", "waited 0.5 s for /etc/ssh/ssh_host_ed25519_key.pub; last seen: no such file"),
    ],
)
def test_waits_end_and_leave_nothing(endpoint: Json, api: LxdApi, nodes: Nodes, wait_for: str, message: str) -> None:
    api.entities["networks", "", "lxdbr0"]["config"]["ipv4.address"] = "none"
    nodes.content, nodes.reports = {}, ["status: running\n"]
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "wait_for": [wait_for], "timeout_seconds": 0.5})

    with pytest.raises(LxdError, match=message):
        stack.create()

    assert not [key for key in api.entities if key[0] == "instances"]


def test_an_instance_keeps_what_it_was_made_of(endpoint: Json, api: LxdApi) -> None:
    """Image, pool, project and cloud-init's data are for those that are made later."""
    made = {**INSTANCE, "image": "images:debian/12"}
    stack = Stack(endpoint, InstanceProvider(), **made, config={"cloud-init.user-data": "old"})
    stack.create()
    before = dict(api.entities["instances", "default", "k3s1"])

    devices = {"eth0": ETH0, "root": {**ROOT, "pool": "another"}}
    now = {"image": "ubuntu:24.04", "devices": devices, "profiles": []}
    outs = stack.update(
        **now, config={"limits.cpu": 1.0, "cloud-init.user-data": "new"}, lxd={**endpoint, "project": "another"}
    )

    after = api.entities["instances", "default", "k3s1"]
    assert after["config"] == {**before["config"], "limits.cpu": "1"}
    assert (after["devices"], after["profiles"]) == (before["devices"], ["default"])
    kept = (outs["image"], outs["devices"]["root"]["pool"], outs["lxd"]["project"], outs["config"])
    expected = {"limits.cpu": "1", "cloud-init.user-data": "old"}
    assert kept == ("images:debian/12", "default", "default", expected)
    assert stack.is_settled()


def test_an_instance_with_its_disk_in_a_profile_gets_one_of_its_own_in_the_same_pool(
    endpoint: Json, api: LxdApi
) -> None:
    """As earlier versions have made them."""
    api.entities["profiles", "default", "default"]["devices"] = {"root": ROOT}
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "devices": {"eth0": ETH0}})
    stack.create()
    for earlier in ("generation", "files", "login_user"):
        del stack.outs[earlier]
    del api.entities["instances", "default", "k3s1"]["config"]["user.pulumi.generation"]
    now = {"devices": {"eth0": ETH0, "root": {**ROOT, "pool": "another"}}, "lxd": {**endpoint, "machine": "4711"}}
    assert not stack.provider.diff("", stack.outs, stack.inputs(**now)).changes, "an upgrade alone changes nothing"

    stack.update(config={"user.a": "1"})

    assert api.entities["instances", "default", "k3s1"]["devices"]["root"] == ROOT
    assert stack.is_settled()


def test_files_are_kept_as_given(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    path = "/home/ubuntu/.ssh/authorized_keys"
    nodes.content = {"/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA x", path: "by cloud-init\n"}
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "files": {path: "ours\n"}})
    stack.create()
    assert nodes.content[path] == "ours\n"
    assert stack.is_settled()

    nodes.content[path] += "theirs\n"
    seen = stack.refresh() or {}
    assert seen["files"] == {path: "ours\ntheirs\n"}
    stack.update()
    assert nodes.content[path] == "ours\n"

    del nodes.content[path]
    nodes.content["/home/ubuntu/.ssh/known_hosts"] = ""
    stack.refresh()
    stack.update(files={path: "new\n"})
    assert nodes.content[path] == "new\n"


@pytest.mark.parametrize("earlier", [False, True])
def test_an_instance_keeps_the_user_of_its_image(endpoint: Json, api: LxdApi, nodes: Nodes, earlier: bool) -> None:
    """Who logs in there, and whose keys are written, does not change with the image of nodes to come."""
    path = "/home/ubuntu/.ssh/authorized_keys"
    nodes.content = {"/etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 AAAA x", path: ""}
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "files": {"~/.ssh/authorized_keys": "ours\n"}})
    stack.create()
    if earlier:  # a version that did not keep it
        del stack.outs["login_user"], api.entities["instances", "default", "k3s1"]["config"]["user.pulumi.login"]
        stack.outs["files"] = {path: "ours\n"}
        assert not stack.provider.diff("", stack.outs, stack.inputs()).changes, "an upgrade alone changes nothing"

    outs = stack.update(login_user="debian", files={"~/.ssh/authorized_keys": "ours\nanother\n"})

    assert (nodes.content[path], outs["login_user"]) == ("ours\nanother\n", "ubuntu")
    assert (stack.refresh() or {})["login_user"] == "ubuntu"
    assert stack.is_settled()


def test_a_file_needs_its_folder(endpoint: Json) -> None:
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "files": {"/home/me/.ssh/authorized_keys": "ours\n"}})
    with pytest.raises(LxdError, match=r"there is no /home/me/\.ssh in it; has its image that user"):
        stack.create()


def test_an_instance_with_another_address_than_configured_is_told(endpoint: Json, api: LxdApi) -> None:
    """A running instance keeps the one that it was started with, whatever is configured since."""
    devices = {"root": ROOT, "eth0": {**ETH0, "ipv4.address": "10.26.23.11"}}
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "devices": devices, "timeout_seconds": 3.0})
    stack.create()
    stack.provider.update("", stack.outs, stack.inputs())
    api.entities["instances", "default", "k3s1"]["leases"]["eth0"] = "10.26.23.99"

    with pytest.raises(LxdError, match=r"waited 3 s for 10\.26\.23\.11 on a network device; last seen: 10\.26\.23\.99"):
        stack.provider.update("", stack.outs, stack.inputs())


def test_instance_without_a_network_device_has_no_address(endpoint: Json) -> None:
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "devices": {"root": ROOT}, "wait_for": []})
    outs = stack.create()

    assert (outs["ipv4_address"], outs["mac_address"], outs["ssh_host_key"]) == ("", "", "")
    assert stack.is_settled()


@pytest.mark.parametrize("report", ["status: absent", "status: disabled", "status: degraded done", "status:    done"])
def test_an_instance_is_ready_when_cloud_init_has_ended(endpoint: Json, nodes: Nodes, report: str) -> None:
    nodes.reports = ["", "something else\n", f"{report}\n"]
    assert Stack(endpoint, InstanceProvider(), **INSTANCE).create()["status"] == "Running"


def test_a_cloud_init_that_failed_is_told_with_its_detail(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    nodes.reports = ["status: error\ndetail:\n ('ssh', KeyError('x'))\n"]

    expected = r"cloud-init ended in error \(status: error; detail:; \('ssh', KeyError\('x'\)\)\); see "
    with pytest.raises(LxdError, match=expected) as caught:
        Stack(endpoint, InstanceProvider(), **INSTANCE).create()

    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("how", ["drop", "lose", "slow"])
@pytest.mark.parametrize("path", ["instances/k3s1/exec", "instances/k3s1/state"])
def test_dropped_tunnel_and_lost_operations_do_not_matter(endpoint: Json, api: LxdApi, how: How, path: str) -> None:
    api.fail("POST" if path.endswith("exec") else "PUT", path, how)

    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    stack.create()
    assert stack.is_settled()


@pytest.mark.parametrize("path", ["instances/*", "operations/*", "instances/k3s1/files"])
def test_dropped_answers_are_asked_for_again(endpoint: Json, api: LxdApi, path: str) -> None:
    api.fail("GET", path, "drop", times=2)
    assert Stack(endpoint, InstanceProvider(), **INSTANCE).create()["status"] == "Running"


def test_a_connection_that_breaks_under_a_long_operation_does_not_matter(
    endpoint: Json, nodes: Nodes, machine: Machine
) -> None:
    def drop() -> None:
        machine.refuse = 2
        ssh.call(machine.drop())

    nodes.on_start = drop

    assert Stack(endpoint, InstanceProvider(), **INSTANCE).create()["status"] == "Running"


def test_instance_that_heeds_no_stop_is_forced(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    nodes.heeds = False
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    stack.create()

    stack.delete()

    assert ("instances", "default", "k3s1") not in api.entities
    assert len([path for method, path in api.requests if (method, path) == ("PUT", "instances/k3s1/state")]) == 3


def test_an_instance_that_goes_as_it_stops_is_deleted(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    stack.create()
    nodes.on_stop = api.entities.clear

    stack.delete()

    assert stack.refresh() is None


def test_an_instance_that_cannot_be_stopped_is_told_and_stays(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    stack.create()
    api.fail("PUT", "instances/k3s1/state", "refuse", times=2)

    with pytest.raises(LxdError, match=r"cannot delete instance k3s1 at 127\.0\.0\.1: pretended failure"):
        stack.delete()


def test_protected_instance_stays(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE, config={"security.protection.delete": True})
    stack.create()

    with pytest.raises(LxdError, match=r"security\.protection\.delete is set; unset it yourself"):
        stack.delete()

    assert api.entities["instances", "default", "k3s1"]["status"] == "Running"


@pytest.mark.parametrize(("status", "action"), [("Stopped", "start"), ("Frozen", "unfreeze")])
def test_instance_that_does_not_run_is_started(endpoint: Json, api: LxdApi, status: str, action: str) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    key = stack.create()["ssh_host_key"]
    api.entities["instances", "default", "k3s1"]["status"] = status

    seen = stack.refresh() or {}
    assert (seen["status"], seen["ssh_host_key"]) == (status, key)
    assert stack.update()["status"] == "Running"
    assert stack.is_settled()


def test_busy_instance_is_waited_for(endpoint: Json, api: LxdApi) -> None:
    stack = Stack(endpoint, InstanceProvider(), **INSTANCE)
    stack.create()
    api.fail("PUT", "instances/k3s1", "busy", times=2)

    stack.update(config={"limits.cpu": 2.0})

    assert api.entities["instances", "default", "k3s1"]["config"]["limits.cpu"] == "2"


@pytest.mark.parametrize("how", ["half-read", "unmade"])
def test_an_image_servers_index_that_another_instance_has_lxd_fetch_too_is_read_again(
    endpoint: Json, api: LxdApi, how: How
) -> None:
    api.fail("POST", "instances", how, times=2)
    assert Stack(endpoint, InstanceProvider(), **INSTANCE).create()["status"] == "Running"


def test_instance_deleted_while_it_is_waited_for(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    nodes.on_start = api.entities.clear

    with pytest.raises(LxdError, match="it is gone"):
        Stack(endpoint, InstanceProvider(), **INSTANCE).create()


def test_instance_deleted_by_itself_is_made_again(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    starts: list[Json | None] = []
    nodes.on_start = lambda: starts.append(None if starts else api.entities.pop(("instances", "default", "k3s1")))
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "wait_for": []})

    stack.create()

    assert len(starts) == 2
    assert stack.is_settled()


def test_rollback_that_fails_is_said(endpoint: Json, api: LxdApi, nodes: Nodes) -> None:
    nodes.reports = ["status: error\n"]
    api.fail("DELETE", "instances/k3s1", "refuse")
    stack = Stack(endpoint, InstanceProvider(), **{**INSTANCE, "wait_for": ["cloud-init"]})

    with pytest.raises(LxdError, match=r"ended in error .*What it left could not be removed \(pretended failure\)"):
        stack.create()
    nodes.reports = ["status: done\n"]
    stack.create()

    assert stack.is_settled()


# The way there


def test_another_host_key_is_refused(endpoint: Json) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    with pytest.raises(LxdError, match=r"SSH host key of 127\.0\.0\.1:\d+ is not the pinned one"):
        Stack({**endpoint, "hostKey": other}, ProfileProvider(), **PROFILE).create()


def test_another_key_is_not_let_in(endpoint: Json) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(LxdError, match="does not let root in with this privateKey"):
        Stack({**endpoint, "privateKey": other}, ProfileProvider(), **PROFILE).create()


def test_unreadable_key_is_said_without_showing_it(endpoint: Json) -> None:
    with pytest.raises(LxdError, match="is not a key that can be read") as caught:
        Stack({**endpoint, "privateKey": "secret-thing"}, ProfileProvider(), **PROFILE).create()
    assert "secret-thing" not in str(caught.value)


def test_the_first_socket_that_opens_is_lxds(endpoint: Json, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    socket_ = endpoint.pop("socket")
    monkeypatch.setattr(transport, "SOCKETS", ("/nowhere", socket_))
    stack = Stack(endpoint, ProfileProvider(), **PROFILE)
    stack.create()
    assert stack.is_settled()


def test_missing_socket_is_said(endpoint: Json) -> None:
    with pytest.raises(LxdError, match=r"does not open /nowhere for root: is LXD running, may they write"):
        Stack({**endpoint, "socket": "/nowhere"}, ProfileProvider(), **PROFILE).create()


def test_dead_machine_says_what_to_do(endpoint: Json) -> None:
    stack = Stack({**endpoint, "port": 1.0}, ProfileProvider(), **PROFILE)
    stack.outs = {**stack.inputs(), "former": ""}

    said = r"gave no SSH connection .* if it is gone for good, say so: CILIUM_BGP_DELETE_UNREACHABLE=true pulumi "
    with pytest.raises(LxdError, match=f"^cannot delete profile k8s at .*{said}destroy$"):
        stack.delete()
    with pytest.raises(LxdError, match=f"^cannot read profile k8s at .*{said}refresh$"):
        stack.refresh()
    with pytest.raises(LxdError, match=r"gave no SSH connection \(.*'127\.0\.0\.1', 1\)\)$"):
        stack.create()


def test_silent_machine_is_given_up(endpoint: Json) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stack = Stack({**endpoint, "port": float(silent.getsockname()[1])}, ProfileProvider(), **PROFILE)
        with pytest.raises(LxdError, match="gave no SSH connection"):
            stack.create()


def test_connections_that_sshd_drops_are_tried_again(endpoint: Json, machine: Machine) -> None:
    machine.refuse = 2
    stack = Stack(endpoint, ProfileProvider(), **PROFILE)
    stack.create()
    assert stack.is_settled()


def test_lxd_that_answers_nothing_is_given_up(endpoint: Json, api: LxdApi) -> None:
    api.fail("GET", "", "drop", times=100)
    with pytest.raises(LxdError, match="nothing answers as LXD behind"):
        Stack(endpoint, ProfileProvider(), **PROFILE).create()


def test_lxd_that_refuses_is_quoted(endpoint: Json, api: LxdApi) -> None:
    api.fail("GET", "", "refuse")
    with pytest.raises(LxdError, match=r"at 127\.0\.0\.1: pretended failure"):
        Stack(endpoint, ProfileProvider(), **PROFILE).create()


def test_a_lasting_conflict_ends_at_the_deadline_with_what_was_seen(
    endpoint: Json, api: LxdApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provider, "seconds", 0.5)
    stack = Stack(endpoint, ProfileProvider(), **PROFILE)
    stack.create()
    api.fail("PUT", "profiles/k8s", "conflict", times=1000)

    expected = "waited 0.5 s for its configuration to take; last seen: somebody else changed it at the same time"
    with pytest.raises(LxdError, match=expected):
        stack.update(config={"user.a": "1"})
