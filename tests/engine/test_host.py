"""The pretend host alone: what it answers, and what it refuses as the real one would."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncssh
import pytest

from components.remote import SCRIPTS, SHARED
from simulator import bgp, memory
from simulator.host import PretendHost, new_key, public_half
from simulator.k3s import Node
from simulator.script import Call, ExitError
from simulator.shell import Shell

KEY = new_key()
NODE = Node("some-uuid", "k3s2", "10.26.23.12", "ubuntu")
PEER = {"peer-address": "10.26.23.1", "peer-asn": 64512, "my-asn": 64512}
FRR = """\
ip prefix-list NODE-10.26.23.12 seq 10 permit 10.26.23.32/27 ge 32 le 32
ip prefix-list NODE-10.26.23.12 seq 20 permit 10.42.1.0/24
route-map NODE-10.26.23.12 permit 10
 match ip address prefix-list NODE-10.26.23.12
router bgp 64512
 bgp router-id 10.26.23.1
 neighbor NODES remote-as 64512
 neighbor NODES password secret
 neighbor 10.26.23.12 peer-group NODES
 address-family ipv4 unicast
  neighbor 10.26.23.12 route-map NODE-10.26.23.12 in
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendHost]:
    monkeypatch.setenv("SIMULATOR_STATE", str(tmp_path))
    with PretendHost(public_half(KEY), cloud=False) as host:
        host.settle()
        yield host


def logs_in(host: PretendHost, key: str) -> bool:
    async def attempt() -> bool:
        options = {"client_keys": [asyncssh.import_private_key(key)], "known_hosts": None, "agent_path": None}
        try:
            async with asyncssh.connect("127.0.0.1", host.port, username="root", config=None, **options) as client:
                done = await client.run("uname", check=False)
        except (OSError, asyncssh.Error):
            return False
        assert done.exit_status == 127
        return "not simulated" in str(done.stderr)

    return asyncio.run(attempt())


def test_every_script_has_an_answer() -> None:
    names = {file.name for file in SCRIPTS.iterdir() if file.suffix in (".sh", ".py")} - set(SHARED)
    assert names
    assert [name for name in sorted(names) if not hasattr(Shell, name.replace(".", "_"))] == []


def test_only_the_stacks_key_enters_and_only_while_there_is_a_machine(host: PretendHost) -> None:
    assert logs_in(host, KEY)
    assert not logs_in(host, new_key())
    host.cloud = True  # and no instance in the cloud
    assert not logs_in(host, KEY)


SERVERS = {"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "agent-token": "agents"}
ENDPOINT = {"server": "https://10.26.23.1:6443"}


def node(host: PretendHost, name: str, *, id_: str = "") -> Shell:
    """A running instance that is prepared for k3s."""
    its = Node(id_ or f"{name}-uuid", name, f"10.26.23.1{name[-1]}", "ubuntu")
    devices = {"eth0": {"ipv4.address": its.address}}
    entity = {
        "status": "Running",
        "config": {"volatile.uuid": its.id, "image.os": its.user},
        "devices": devices,
        "project": "default",
    }
    host.lxd.entities["instances", "default", name] = entity
    host.lxd.save()
    shell = Shell(host.lxd, its)
    shell.run(Call("node_prepare.sh", [], 60), "")
    return shell


def install(shell: Shell, role: str, config: Mapping[str, object], version: str = "v1.25.6+k3s1") -> str:
    """Why k3s did not start; nothing if it did."""
    assert shell.node
    arguments = [role, version, "https://get.k3s.io", "", "60", "ubuntu"]
    try:
        shell.run(Call("k3s_install.sh", arguments, 180), f"{shell.node.name}-password\n{json.dumps(config)}")
    except ExitError as error:
        return str(error)
    return ""


@pytest.fixture
def cluster(host: PretendHost) -> Shell:
    """Its first server."""
    first = node(host, "k3s1")
    Shell(host.lxd).run(Call("k3s_endpoint.sh", ["api", "0.0.0.0", "10.26.23.1", "6443", "k3s1=10.26.23.11"], 60), "")
    assert install(first, "server", SERVERS | {"token": "servers", "cluster-init": True}) == ""
    return first


def test_k3s_needs_its_mounts(host: PretendHost) -> None:
    with pytest.raises(ExitError, match="/sys/fs/bpf"):
        Shell(host.lxd, NODE).run(
            Call("k3s_install.sh", ["agent", "v1.25.6+k3s1", "", "", "60", "ubuntu"], 180), "\n{}"
        )


@pytest.mark.parametrize(
    ("role", "config", "said"),
    [
        ("agent", ENDPOINT | {"token": "agents"}, ""),
        ("agent", ENDPOINT | {"token": "K10::node:agents"}, ""),
        ("agent", ENDPOINT | {"token": "servers"}, "not authorized"),  # agents have one of their own
        ("agent", ENDPOINT | {"token": "guessed"}, "not authorized"),
        ("agent", ENDPOINT | {"token": "K10" + "0a" * 32 + "::node:agents"}, "token CA hash does not match"),
        ("agent", {"server": "https://10.26.23.12:6443", "token": "servers"}, "connection refused"),
        ("server", SERVERS | ENDPOINT | {"token": "servers"}, ""),
        ("server", SERVERS | ENDPOINT | {"token": "K10::node:agents"}, "not authorized"),
        ("server", SERVERS | ENDPOINT | {"token": "guessed"}, "not authorized"),
        (
            "server",
            SERVERS | ENDPOINT | {"token": "servers", "cluster-cidr": "10.44.0.0/16"},
            "critical configuration value mismatch between servers",
        ),
    ],
)
def test_who_may_join(host: PretendHost, cluster: Shell, role: str, config: dict[str, object], said: str) -> None:
    found = install(node(host, "k3s2"), role, config)
    assert bool(found) == bool(said)
    assert said in found


def test_a_cluster_begins_with_a_snapshot_that_its_token_opens(host: PretendHost, cluster: Shell) -> None:
    with memory.opened("host") as state:
        before = state["cluster"]["ca"]
    with memory.opened("kubernetes") as objects:
        objects["objects"] = {"ConfigMap/default/marker": {"kind": "ConfigMap"}}
    begins = SERVERS | {
        "cluster-init": True,
        "cluster-reset-restore-path": cluster.run(Call("k3s_snapshot.sh", [], 60), ""),
    }
    said = install(node(host, "k3s2"), "server", begins | {"token": "another"})
    assert "encrypted with different token" in said
    assert install(node(host, "k3s3"), "server", begins | {"token": "servers"}) == ""
    with memory.opened("host") as state, memory.opened("kubernetes") as objects:
        assert state["cluster"]["ca"] == before
        assert list(objects["objects"]) == ["ConfigMap/default/marker"]


def test_a_server_that_names_no_other_starts_a_cluster_whatever_the_others_do(
    host: PretendHost, cluster: Shell
) -> None:
    with memory.opened("host") as state:
        before = state["cluster"]["ca"]
    other = node(host, "k3s2")
    assert install(other, "server", SERVERS | {"token": "servers", "cluster-init": True}) == ""
    with memory.opened("host") as state:
        assert state["cluster"]["ca"] != before
    assert "not a member" in install(cluster, "server", SERVERS | {"token": "servers", "cluster-init": True})


def test_a_server_with_a_datastore_wants_its_token_and_never_an_older_k3s(host: PretendHost, cluster: Shell) -> None:
    config = SERVERS | {"token": "servers", "cluster-init": True}
    said = install(cluster, "server", config | {"token": "another"})
    assert "bootstrap data already found and encrypted with different token" in said
    assert "does not go back" in install(cluster, "server", config, "v1.24.17+k3s1")
    assert "one minor release at a time" in install(cluster, "server", config, "v1.27.1+k3s1")
    assert install(cluster, "server", config, "v1.26.0+k3s1") == ""


def test_a_former_instance_is_in_the_way_until_it_is_forgotten(host: PretendHost, cluster: Shell) -> None:
    config = SERVERS | ENDPOINT | {"token": "servers"}
    for name in ("k3s2", "k3s3"):
        assert install(node(host, name), "server", config) == ""
    anew = node(host, "k3s2", id_="another")
    assert "duplicate node name found" in install(anew, "server", config)
    cluster.run(Call("node_forget.sh", ["k3s2", "another"], 60), "")
    assert install(anew, "server", config) == ""


def test_most_of_the_servers_must_be_there(host: PretendHost, cluster: Shell) -> None:
    for name in ("k3s2", "k3s3"):
        assert install(node(host, name), "server", SERVERS | ENDPOINT | {"token": "servers"}) == ""
    for name in ("k3s2", "k3s3"):
        del host.lxd.entities["instances", "default", name]
    host.lxd.save()
    with pytest.raises(ExitError, match="was refused"):
        cluster.run(Call("node_joined.sh", ["k3s1", "60"], 60), "")
    agent = ENDPOINT | {"token": "K10::node:agents"}
    assert "connection refused" in install(node(host, "k3s9"), "agent", agent)


def test_frr_needs_its_bridge(host: PretendHost) -> None:
    with pytest.raises(ExitError, match=r"lxdbr0 has no address 10\.26\.23\.1"):
        Shell(host.lxd).run(Call("frr.sh", ["10.26.23.1", "lxdbr0"], 60), FRR)
    with memory.opened("host") as state:
        assert "frr" not in state


@pytest.mark.parametrize(
    ("peer", "stands"),
    [
        ({**PEER, "password": "secret"}, True),
        ({**PEER, "password": "another"}, False),
        (PEER, False),
        ({**PEER, "password": "secret", "my-asn": 64513}, False),
        ({**PEER, "password": "secret", "peer-asn": 64513}, False),
        ({**PEER, "password": "secret", "peer-address": "10.26.23.2"}, False),
    ],
)
def test_a_session_stands_only_where_both_sides_agree(peer: dict[str, object], stands: bool) -> None:
    text = json.dumps({"peers": [peer], "address-pools": []})
    objects = {"ConfigMap/kube-system/bgp-config": {"kind": "ConfigMap", "data": {"config.yaml": text}}}
    balancer = {"kind": "Service", "spec": {"type": "LoadBalancer"}}
    for number, address in enumerate(("10.26.23.32", "10.26.23.99")):
        objects[f"Service/default/{number}"] = balancer | {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    nodes = {"10.26.23.12": ["10.42.1.0/24", "10.42.2.0/24"], "10.26.23.13": ["10.42.2.0/24"]}
    learned = {"10.26.23.12": ["10.26.23.32/32", "10.42.1.0/24"]}
    values = {"bgp": {"enabled": True}}
    assert bgp.sessions(FRR, objects, values, nodes) == (learned if stands else {})
    assert bgp.sessions(FRR, objects, {"bgpControlPlane": {"enabled": True}}, nodes) == {}
