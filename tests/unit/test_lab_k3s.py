"""The lab's stand-in of k3s: what it writes for programs in Go."""

import argparse
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.k3s import k3s
from tests.scripts import debian

TOKENS = ["123456.1234567890123456", "12e456.1234567890123456", "123456.12345678901234e5", "abcdef.0123456789abcdef"]


class GoLoader(yaml.SafeLoader):
    """Takes for a number what YAML 1.2 and Go's readers do; PyYAML's own wants a point and a sign in it."""


GoLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


@pytest.mark.parametrize("token", TOKENS)
def test_a_bootstrap_token_of_digits_stays_a_text(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr(k3s, "bootstrap_token", lambda secret: token if secret == "agents" else "fedcba.1")
    rules = k3s.join_rules("servers", "agents", {"clusterDNS": "10.43.0.10", "clientCA": "PEM\n"}, "U2FsdGVk")
    items = list(yaml.load_all(rules, GoLoader))
    name = f"bootstrap-token-{token.partition('.')[0]}"
    (parts,) = (item["stringData"] for item in items if item and item["metadata"]["name"] == name)
    assert f"{parts['token-id']}.{parts['token-secret']}" == token
    assert {type(text) for text in parts.values()} == {str}


def test_only_the_servers_token_reads_what_servers_share() -> None:
    items = [item for item in yaml.load_all(k3s.join_rules("servers", "agents", {}, "U2FsdGVk"), GoLoader) if item]
    groups = {
        item["stringData"]["token-secret"]: item["stringData"]["auth-extra-groups"].split(",")
        for item in items
        if item.get("type") == "bootstrap.kubernetes.io/token"
    }
    for secret, reads in (("servers", True), ("agents", False)):
        its = groups[k3s.bootstrap_token(secret).partition(".")[2]]
        assert its == [f"system:bootstrappers:k3s-{'server' if reads else 'agent'}"]


def test_what_servers_share_opens_with_their_token_alone() -> None:
    kept = k3s.encrypted("keys of the authorities", "token")
    assert "keys" not in kept
    assert k3s.decrypted(kept, "token") == "keys of the authorities"
    with pytest.raises(SystemExit, match="bootstrap data already found and encrypted with different token"):
        k3s.decrypted(kept, "another")


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_in_a_kubeconfig_stays_a_text(tmp_path: Path, token: str) -> None:
    file = k3s.kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:6444", "Q0E=", {"token": token})
    assert yaml.load(file.read_text(), GoLoader)["users"][0]["user"] == {"token": token}
    assert "    server: https://127.0.0.1:6444\n" in file.read_text()


class Server:
    """A server's part of etcd, on loopback; `here` before each step, because the stand-in's places are its module's."""

    def __init__(self, folder: Path, number: int, etcd: str, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.number, self.patch = folder / str(number), number, patch
        self.environment = {"PATH": f"{Path(etcd).parent}:{os.environ['PATH']}", "HOME": "/root"}
        self.children = k3s.Children()
        self.settings = argparse.Namespace(
            node_name=f"k3s{number}", node_ip=f"{debian.LOOPBACK}.32.{number}", tls_san=[]
        )
        self.settings.cluster_reset = False

    def here(self) -> "Server":
        data = self.folder
        places = {
            "DATA": data,
            "TLS": data / "server/tls",
            "ETCD": data / "server/db/etcd",
            "ROOT_ENV": self.environment,
        }
        for name, value in (places | {"LOCAL": f"{debian.LOOPBACK}.31.{self.number}"}).items():
            self.patch.setattr(k3s, name, value)
        k3s.TLS.mkdir(parents=True, exist_ok=True)
        return self

    def vote(self, initial: str, others: "list[Server]") -> None:
        k3s.start_etcd(self.here().children, self.settings, initial)

        def missing() -> str:
            for other in others:
                other.here()
                k3s.promote_learners()
            self.here()
            return k3s.not_voting()

        self.children.wait_for("etcd to be a voting member", 60, missing)

    def members(self) -> list[dict[str, Any]]:
        self.here()
        return list(k3s.etcd("cluster/member/list", {})["members"])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Server]]:
    etcd, _ = debian.program("etcd", "etcd-server")
    made: list[Server] = []

    def make(number: int) -> Server:
        made.append(Server(tmp_path, number, etcd, monkeypatch))
        return made[-1]

    yield make
    for its in made:
        its.children.stop()


def test_servers_are_members_of_a_real_etcd(server: Callable[[int], Server]) -> None:
    first, second, anew = server(1), server(2), server(2)
    first.here()
    for authority in ("server-ca", "client-ca", "etcd-ca"):
        k3s.authority(authority)
    k3s.make_certificates(first.settings, "127.0.0.1")
    first.vote("", [])
    k3s.keep_shared("token")
    k3s.keep_shared("token")
    with pytest.raises(SystemExit, match="encrypted with different token"):
        k3s.keep_shared("another")

    def take_over(its: Server) -> None:
        first.here()
        shared = k3s.SHARED
        texts = {name: (k3s.DATA / "server" / name).read_text() for name in shared if "cred" not in name}
        its.here()
        for name, text in texts.items():
            k3s.private(k3s.DATA / "server" / name, text)
        k3s.make_certificates(its.settings, "127.0.0.1")

    take_over(second)
    second.vote(k3s.become_member(second.settings, [first.settings.node_ip]), [first])
    assert sorted(its["name"][:5] for its in first.members()) == ["k3s1-", "k3s2-"]
    assert not any(its.get("isLearner") for its in first.members())

    anew.folder = anew.folder.with_name("anew")
    take_over(anew)
    with pytest.raises(SystemExit, match="duplicate node name found"):
        k3s.become_member(anew.settings, [first.settings.node_ip])
    second.children.stop()
    first.children.wait_for("the majority to go", 30, lambda: "" if "no leader" in lost(first) else "it is there")


def lost(its: Server) -> str:
    its.here()
    return k3s.not_voting()
