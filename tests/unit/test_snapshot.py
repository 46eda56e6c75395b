"""make snapshot: what is asked of the host. SSH is real; what runs there is in tests/scripts and the lab."""

from collections.abc import Iterator

import pytest

from scripts import snapshot
from status.stack import Stack
from tests.unit.ssh import Machine, one_machine


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with one_machine() as host:
        monkeypatch.setattr(snapshot, "read", lambda name: Stack(name, host.way(), {}, {}))
        yield host


def test_a_server_that_answers_takes_it(host: Machine) -> None:
    assert snapshot.main("dev") == 0
    (command,) = host.commands
    assert "usage: on_server.py" in command
    assert "k3s etcd-snapshot save" in command
    assert "/var/lib/cilium-bgp/cilium-bgp-dev-api.servers" in command


def test_why_there_is_none(host: Machine) -> None:
    host.code, host.said = 1, "no server of the cluster answers within 120 s"
    with pytest.raises(SystemExit, match="no server of the cluster answers within 120 s"):
        snapshot.main("dev")


def test_a_host_that_is_not_reached_is_told(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "read", lambda name: Stack(name, host.way(port=1.0), {}, {}))
    with pytest.raises(SystemExit, match=r"ssh -p 1 root@127\.0\.0\.1: "):
        snapshot.main("dev")
