"""The pretend host alone: what it answers, and what it refuses as the real one would."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from components.remote import SCRIPTS, SHARED
from simulator import bgp, memory
from simulator.host import PretendHost, new_key, public_half
from simulator.shell import Call, ExitError, Node, Shell

KEY = new_key()
NODE = Node("some-uuid", "k3s2", "10.26.23.12")
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


def test_an_agent_joins_only_with_the_token_of_a_cluster_that_is_there(host: PretendHost) -> None:
    shell = Shell(host.lxd, NODE)
    config = json.dumps({"node-name": "k3s2", "server": "https://10.26.23.11:6443", "token": "guessed"})
    install = Call("k3s_install.sh", ["agent", "v1.25.6+k3s1", "https://get.k3s.io", "", "60"], 180)
    with pytest.raises(ExitError, match="/sys/fs/bpf"):
        shell.run(install, config)
    shell.run(Call("node_prepare.sh", [], 60), "")
    with pytest.raises(ExitError, match="k3s-agent on k3s2 active: not within 60 s; last seen: activating"):
        shell.run(install, config)
    with pytest.raises(ExitError, match="node-token: No such file"):
        shell.run(Call("k3s_token.sh", [], 60), "")


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
