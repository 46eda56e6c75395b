"""The programs in examples/ on the real engine, each with the host of its language. SSH is real, the machine pretended.

What starts the package here is a program beside a copy of its folder, which the engine prefers to PulumiPlugin.yaml:
of the Python language host only one that starts no plugins yet can be had from registries alone.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.demo import KEY, world
from scripts.preview import ROOT, needed_secrets
from settings.keys import public_key
from simulator import bgp, memory
from simulator.host import PretendHost
from standin.command import Command
from standin.serve import attached, serve
from tests.engine.world import PATH, needs_pulumi

pytestmark = [pytest.mark.examples, needs_pulumi]

LANGUAGES = ROOT / ".cache" / "languages"
SECONDS = "300"
QUIET = ["--stack", "dev", "--non-interactive", "--color=never"]
PEERS = {"peer1": "10.99.0.11", "peer2": "10.99.0.12"}
COMMAND, FINALIZER = "command:remote:Command", "pulumi-python:dynamic/cilium-bgp:Finalizer"
ROUTER, TOPOLOGY, HOST = (f"cilium-bgp:index:{name}" for name in ("BgpRouter", "LxdTopology", "LxdHost"))
MADE = {
    ROUTER: {"router"},
    f"{ROUTER}${COMMAND}": {"router-frr"},
    f"{ROUTER}${FINALIZER}": {"router-frr-finalizer"},
    f"{ROUTER}$pulumi-python:dynamic/cilium-bgp:RandomHex": {"router-password"},
    TOPOLOGY: {"topology"},
    f"{TOPOLOGY}${HOST}": {"topology-lxd"},
    f"{TOPOLOGY}${HOST}${COMMAND}": {"topology-lxd-install", "topology-lxd-kernel", "topology-lxd-ssh-key"},
    f"{TOPOLOGY}${HOST}${FINALIZER}": {"topology-lxd-kernel-finalizer", "topology-lxd-ssh-key-finalizer"},
    f"{TOPOLOGY}${TOPOLOGY}": {"topology"},
    f"{TOPOLOGY}${TOPOLOGY}$pulumi-python:dynamic/lxd:StoragePool": {"topology-pool"},
    f"{TOPOLOGY}${TOPOLOGY}$pulumi-python:dynamic/lxd:Network": {"topology-bridge"},
    f"{TOPOLOGY}${TOPOLOGY}$pulumi-python:dynamic/lxd:Profile": {"topology-profile-k8s"},
    f"{TOPOLOGY}${TOPOLOGY}$pulumi-python:dynamic/lxd:Instance": {"peer1", "peer2"},
    f"{TOPOLOGY}${TOPOLOGY}$pulumi-python:dynamic/lxd:Identity": {"peer1-identity", "peer2-identity"},
}
"""Names by the kinds from the program down to the resource."""


@dataclass
class Program:
    """A copy of an example, as it stands to the project's root, with a stack and a machine of its own."""

    folder: Path
    host: PretendHost
    key: str
    seen: str = ""
    """All that the engine has said."""

    def pulumi(self, *arguments: str, stdin: str | None = None) -> str:
        """Run the engine, which must succeed; what it says."""
        done = subprocess.run(
            ["timeout", "-k", "10", SECONDS, "pulumi", *arguments, *QUIET],
            cwd=self.folder,
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        self.seen += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def steps(self, *arguments: str) -> dict[str, set[str]]:
        """What a run does, and to which resources by their URNs."""
        log = self.folder / "events"
        log.unlink(missing_ok=True)
        self.pulumi(*arguments, "--event-log", str(log))
        found: dict[str, set[str]] = {}
        for line in log.read_text().splitlines():
            if step := json.loads(line).get("resourcePreEvent"):
                found.setdefault(step["metadata"]["op"], set()).add(step["metadata"]["urn"])
        return found

    def up(self) -> dict[str, set[str]]:
        return self.steps("up", "--yes", "--skip-preview")

    def router(self) -> bgp.Router | None:
        """FRR as the machine has it."""
        with memory.opened("host") as state:
            return bgp.router(state.get("frr", ""))

    def leaked(self) -> list[str]:
        """Where a secret is in plain text: the state's files, what the engine said, command lines on the machine."""
        secrets = {self.key.splitlines()[2], *([its.side.password] if (its := self.router()) else [])}
        files = (file for file in (self.folder.parents[1] / "world").rglob("*") if "state" in file.parts)
        texts = {str(file): file.read_text(errors="replace") for file in files if file.is_file()}
        texts |= {"what the engine said": self.seen, "command lines": "\n".join(self.host.commands)}
        return [where for where, text in texts.items() if any(secret in text for secret in secrets)]


@pytest.fixture(params=["python", "typescript", "yaml"])
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    language: str = request.param
    modules = LANGUAGES / "typescript" / "node_modules"
    if language == "typescript" and not modules.exists():
        pytest.skip("no Node.js of the version that scripts/setup-languages wants")
    folder = tmp_path / "examples" / language
    shutil.copytree(ROOT / "examples" / language, folder, ignore=shutil.ignore_patterns("sdks", "venv", "node_modules"))
    (folder / "node_modules").symlink_to(modules)
    (folder / "venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    plugin = tmp_path / "provider" / "pulumi-resource-cilium-bgp"
    plugin.parent.mkdir()
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "provider"} "$@"\n')
    plugin.chmod(0o755)

    key = needed_secrets({})[KEY]
    pretended = tmp_path / "world"
    pretended.mkdir()
    (command, stop) = serve(Command)
    environment = world(pretended) | attached({"command": (command, stop)})
    environment["PATH"] = os.pathsep.join([str(LANGUAGES / "bin"), PATH])
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(LANGUAGES / "python")])
    environment |= {"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_DEBUG_COMMANDS": "true"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with PretendHost(public_key(key), cloud=False) as host:
        its = Program(folder, host, key)
        its.pulumi("stack", "init")
        plain = {"host": "127.0.0.1", "port": host.port, "hostKey": host.key(), "publicKey": public_key(key)}
        its.pulumi(
            "config", "set-all", *(word for pair in plain.items() for word in ("--plaintext", "=".join(map(str, pair))))
        )
        its.pulumi("config", "set", "--secret", "privateKey", stdin=key)
        yield its
    stop()


def kinds(urns: set[str]) -> dict[str, set[str]]:
    """Names by kinds, as in `MADE`; the stack itself and what gives it resources are left out."""
    found: dict[str, set[str]] = {}
    for urn in urns:
        _, _, kind, name = urn.split("::")
        if not kind.startswith(("pulumi:pulumi:", "pulumi:providers:")):
            found.setdefault(kind, set()).add(name)
    return found


def test_preview_shows_what_the_components_are_made_of_and_dials_nobody(program: Program) -> None:
    steps = program.steps("preview")
    assert steps.keys() == {"create"}
    assert kinds(steps["create"]) == MADE
    assert program.host.commands == []


def test_router_and_instances_come_up_stay_as_they_are_and_go(program: Program) -> None:
    assert kinds(program.up()["create"]) == MADE
    outputs = json.loads(program.pulumi("stack", "output", "--json"))
    assert {name: its["address"] for name, its in outputs["instances"].items()} == PEERS
    assert all(its["hostKey"].startswith("ssh-ed25519 AAAA") for its in outputs["instances"].values())
    assert (outputs["peerAddress"], outputs["password"]) == ("10.99.0.1", "[secret]")
    router = program.router()
    assert router
    assert set(router.neighbors) == set(PEERS.values())
    assert program.leaked() == []

    assert program.steps("preview", "--expect-no-changes").keys() == {"same"}
    assert program.up().keys() == {"same"}

    gone = program.steps("destroy", "--yes", "--skip-preview")
    assert kinds(gone["delete"]) == MADE
    assert program.router() is None
    assert [kind for kind, _, name in program.host.lxd.entities if name in PEERS] == []
    assert program.leaked() == []


@pytest.mark.parametrize("program", ["yaml"], indirect=True)
def test_instances_are_made_anew_though_no_cluster_waits_for_them(program: Program) -> None:
    program.up()
    file = program.folder / "Pulumi.yaml"
    file.write_text(file.read_text().replace("          address: 10", "          generation: 2\n          address: 10"))
    steps = program.up()
    assert {urn.rpartition("::")[2] for urn in steps["replace"]} == {
        "peer1",
        "peer2",
        "peer1-identity",
        "peer2-identity",
    }
