"""make doctor: what a host says of itself, before any stack exists. The host is the simulator's, SSH is real."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scripts import doctor, preview
from simulator import memory
from simulator.host import PretendHost, new_key, public_half
from status.stack import Stack, UnknownError

KEY = new_key()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendHost]:
    monkeypatch.setenv("SIMULATOR_STATE", str(tmp_path))
    monkeypatch.setattr(preview, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "private_key", lambda _stack: KEY)
    monkeypatch.setattr(doctor, "read", nothing)
    with PretendHost(public_half(KEY), cloud=False) as host:
        configure(tmp_path, {"kind": "existing", "port": host.port, "hostKey": host.key()})
        yield host


def nothing(_stack: str) -> Stack:
    raise UnknownError("no stack named 'mine' found")


def configure(folder: Path, host: dict[str, Any]) -> None:
    nodes = {"k3s1": {"role": "server", "address": "10.26.23.11"}}
    config = {"cilium-bgp:host": host, "cilium-bgp:nodes": nodes}
    (folder / "Pulumi.mine.yaml").write_text(yaml.safe_dump({"config": config}))


def said(capsys: pytest.CaptureFixture[str], *, fails: bool) -> str:
    try:
        code = doctor.main("mine")
    except SystemExit as end:
        return str(end.code)
    assert code == int(fails)
    return capsys.readouterr().out


def test_a_host_that_will_do_is_looked_at_and_not_taken(host: PretendHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, fails=False) == "ready\n"
    with memory.opened("host") as state:
        assert "owner" not in state


def test_what_the_host_says_is_shown(host: PretendHost, capsys: pytest.CaptureFixture[str]) -> None:
    memory.file_of("faults").write_text(
        '{"fail": {"preflight.sh": "this host is not ready, and was not touched:\\nno vxlan"}}'
    )
    assert said(capsys, fails=True) == "this host is not ready, and was not touched:\nno vxlan\n"


def test_without_a_host_key_it_shows_the_one_to_pin(
    host: PretendHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, {"kind": "existing", "port": host.port})
    assert said(capsys, fails=False) == f"host.hostKey: not set; the host shows {host.key()}\nready\n"


def test_a_host_that_does_not_answer_or_is_another_is_told(
    host: PretendHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    public = Ed25519PrivateKey.generate().public_key()
    other = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    configure(tmp_path, {"kind": "existing", "port": host.port, "hostKey": other})
    assert "it shows another host key than host.hostKey" in said(capsys, fails=True)
    configure(tmp_path, {"kind": "existing", "port": host.port, "hostKey": host.key()})
    monkeypatch.setattr(doctor, "private_key", lambda _stack: new_key())
    assert "it takes neither the stack's key nor yours" in said(capsys, fails=True)
    configure(tmp_path, {"kind": "existing", "port": 1, "hostKey": host.key()})
    assert "is it on, and is its firewall open for you?" in said(capsys, fails=True)


def test_a_host_without_a_key_that_can_be_pinned_is_told_how_to_make_one(
    host: PretendHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise asyncssh.KeyExchangeFailed("Unable to find compatible server host key")  # as of one that has RSA's only

    configure(tmp_path, {"kind": "existing", "port": host.port})
    monkeypatch.setattr(asyncssh, "get_server_host_key", refused)
    assert "Make those that are missing there: ssh-keygen -A" in said(capsys, fails=True)


def test_a_user_without_sudo_is_told_the_line_that_gives_it(
    host: PretendHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, {"kind": "existing", "port": host.port, "hostKey": host.key(), "user": "me"})
    assert said(capsys, fails=True).endswith("echo 'me ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/me")


def test_a_wrong_configuration_and_a_linode_need_no_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preview, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "read", nothing)
    configure(tmp_path, {"kind": "linode", "adminCidrs": ["203.0.113.7/32"]})
    assert "Linode" in said(capsys, fails=False)
    configure(tmp_path, {"kind": "linode", "adminCidrs": []})
    assert said(capsys, fails=True).startswith("host.adminCidrs: empty")
