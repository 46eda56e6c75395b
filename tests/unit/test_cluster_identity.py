"""What a stack remembers of its cluster, and what it refuses."""

import re
from typing import Any

import pytest
from pulumi.output import Unknown

from components.cluster_identity import (
    ClusterIdentityProvider,
    ClusterTokensProvider,
    RunningProvider,
    refusals,
)

UNKNOWN = Unknown()  # type: ignore[no-untyped-call]
SECRETS = ("token", "agent_token", "passwords")


def tokens(olds: dict[str, Any], existing: Any = "", **more: str) -> dict[str, Any]:
    return dict(ClusterTokensProvider().check(olds, dict.fromkeys(SECRETS, "") | {"existing": existing} | more).inputs)


def checked(olds: dict[str, Any], servers: list[Any]) -> dict[str, Any]:
    return dict(ClusterIdentityProvider().check(olds, {"servers": servers, "starter": None, "renewed": None}).inputs)


def replaced(olds: dict[str, Any], servers: list[Any]) -> list[str]:
    return list(ClusterIdentityProvider().diff("", olds, checked(olds, servers)).replaces or [])


def test_tokens_are_made_once_and_each_is_its_own() -> None:
    made = tokens({})
    assert len({made[key] for key in SECRETS}) == 3
    assert all(len(made[key]) == 64 for key in SECRETS)
    assert tokens(made) == made
    assert tokens({})["token"] != made["token"]


def test_another_generation_makes_another_token_of_the_agents_once_and_no_other() -> None:
    first = tokens({})
    second = tokens(first, agent_generation="2")
    assert {key for key in SECRETS if first[key] != second[key]} == {"agent_token"}
    assert tokens(second, agent_generation="2") == second
    back = tokens(second)
    assert back["agent_token"] not in (first["agent_token"], second["agent_token"])


def test_the_first_instance_starts_the_cluster_and_others_join_whatever_their_order() -> None:
    one = checked({}, ["b"])
    assert one["starter"] == "b"
    three = checked(one, ["a", "b", "c"])
    assert three["starter"] == "b"
    without = checked(three, ["a", "b2", "c"])
    assert without["starter"] == "b", "made anew it is another instance, and joins"
    assert checked(without, ["a"])["starter"] == "b"
    assert replaced(without, ["a"]) == replaced(without, ["a", UNKNOWN]) == []


def test_when_no_server_is_left_it_is_another_cluster() -> None:
    first = checked({}, ["a"])
    assert checked(first, ["a2"])["starter"] == "a2"
    assert replaced(first, ["a2"]) == replaced(first, [UNKNOWN]) == ["starter"], "and the preview says so"


def test_a_cluster_of_an_earlier_version_keeps_token_and_passwords() -> None:
    existing = "K10" + "0a" * 32 + "::server:secret"
    made = tokens({}, existing)
    assert (made["token"], made["passwords"]) == ("secret", existing)
    assert made["agent_token"] not in ("", "secret")
    assert made["existing"] == ""


def test_the_kubeconfig_is_read_again_when_its_certificate_nears_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    day, now = 86400, 1_800_000_000
    monkeypatch.setattr("time.time", lambda: now)
    made = checked({}, ["a"])
    monkeypatch.setattr("time.time", lambda: now + 279 * day)
    assert checked(made, ["a"]) == made
    monkeypatch.setattr("time.time", lambda: now + 281 * day)
    assert checked(made, ["a"])["renewed"] != made["renewed"]


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        ("k3s.version", "v1.25.6+k3s1", "v1.25.6+k3s1", ""),
        ("k3s.version", "v1.25.6+k3s1", "v1.25.10+k3s1", ""),
        ("k3s.version", "v1.25.6+k3s1", "v1.26.0+k3s1", ""),
        ("k3s.version", "v1.25.10+k3s2", "v1.25.10+k3s1", r"no way back to it. Write v1.25.10\+k3s2 or later"),
        ("k3s.version", "v1.26.0+k3s1", "v1.25.16+k3s4", "is older"),
        ("k3s.version", "v1.25.6+k3s1", "v1.27.1+k3s1", "skips a minor release; .* Write a v1.26"),
        ("cilium.version", "1.16.19", "1.17.2", ""),
        ("cilium.version", "1.16.19", "1.18.0", "Write a 1.17"),
        ("cilium.version", "1.17.2", "1.16.19", ""),
        ("cilium.version", "1.18.2", "1.16.19", "Write a 1.17"),
        ("cilium.version", "1.16.19", "1.16.2", ""),
        ("k3s.clusterCidr", "10.42.0.0/16", "10.44.0.0/16", "cannot change to 10.44.0.0/16: .* Write 10.42.0.0/16"),
        ("k3s.serviceCidr", "10.43.0.0/16", "10.43.0.0/16", ""),
    ],
)
def test_what_a_running_cluster_cannot_bear_is_refused_with_the_way_to_go(
    key: str, old: str, new: str, said: str
) -> None:
    found = list(refusals({key: old}, {key: new}))
    assert bool(found) == bool(said)
    for where, text in found:
        assert where == key
        assert re.search(said, text), text


def test_the_first_record_and_what_is_not_known_yet_are_not_refused() -> None:
    provider = RunningProvider()

    def refused(olds: dict[str, Any], values: dict[str, Any], cluster: object = "a") -> list[str]:
        return [its.reason for its in provider.check(olds, {"values": values, "cluster": cluster}).failures]

    olds = {"values": {"k3s.version": "v1.26.0+k3s1", "k": "1"}, "cluster": "a"}
    assert not refused({}, {"k3s.version": "v1.25.6+k3s1"})
    assert not refused(olds, {"k3s.version": UNKNOWN})
    (said,) = refused(olds, {"k": "2"})
    assert said.startswith("k: the cluster has 1")
    assert not refused(olds, {"k": "2"}, "b")
    assert not refused(olds, {"k": "2"}, UNKNOWN), "another cluster can have what it likes"
