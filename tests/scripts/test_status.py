"""status.py as it goes over SSH, on a host with little or nothing; a cluster is tests/engine's and the lab's."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.test_on_server import Lxd
from tests.scripts.test_proof import ADDRESSES, NODES, Host, peers


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def look(host: Host, socket: Path) -> dict[str, Any]:
    parameters = (str(socket), "cilium-bgp-test-api", json.dumps(NODES), "{}", json.dumps(ADDRESSES))
    done = host.run("status.py", *parameters, uses=("on_server.py", "proof.py"))
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_of_a_host_without_anything_it_says_what_it_could_not_see(host: Host, tmp_path: Path) -> None:
    host.fake("vtysh", "echo 'bgpd is not running' >&2; exit 1")
    host.says("ip", [])
    found = look(host, tmp_path / "no.socket")
    assert found["sessions"] == {"error": "bgpd is not running"}
    assert found["routes"] == {"10.26.23.35": []}
    assert found["answers"] == {}
    assert {"instances", "endpoint", "cluster"} == {part for part in found if "error" in found[part]} - {"sessions"}
    assert "No such file or directory" in found["instances"]["error"]


def test_instances_units_sessions_and_routes_are_shown_as_they_are(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.says("vtysh", peers(k3s1="Established"))
    host.says("ip", [{"dst": "10.26.23.35", "gateway": "10.26.23.11", "dev": "lxdbr0"}])
    host.fake("systemctl", 'case "$2" in k3s) ;; *) exit 1 ;; esac; [ "$1" = cat ] || echo inactive')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")  # where the pretend LXD starts what it is asked to
    with Lxd(str(tmp_path / "unix.socket")) as lxd:
        threading.Thread(target=lxd.serve_forever, daemon=True).start()
        lxd.instances = {"k3s1": "Running", "k3s2": "Stopped"}
        found = look(host, tmp_path / "unix.socket")
        lxd.shutdown()
    its = {"name": "k3s1", "project": "cluster", "status": "Running", "unit": "k3s", "state": "inactive"}
    assert found["instances"] == {"k3s1": its, "k3s2": {"name": "k3s2", "project": "cluster", "status": "Stopped"}}
    assert [its["state"] for its in found["sessions"].values()] == ["Established", "unknown to the router"]
    assert "k3s2: it is not running" in found["cluster"]["error"]
    assert found["routes"] == {"10.26.23.35": ["10.26.23.11"]}
