"""A stack that an earlier version of the program brought up: this version replaces and deletes nothing of it.

recorded/VERSION/STACK has its state and configuration, secrets encrypted; the key in them opened a pretend host that
is gone. A release's state is packed: each script stands in it twice. Before the first release a day stands for the
version. `python -m tests.engine.test_upgrade VERSION` records a release, once.
"""

import gzip
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.preview import ROOT, is_secret
from simulator import memory
from simulator.linode import DEVICE, FIREWALL, INSTANCE, device
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

RECORDED = Path(__file__).parent / "recorded"
STACK_FILE = "Pulumi.dev.yaml"
PASSPHRASE = "for the recorded state only"
FOLDERS = sorted(path.parent for path in RECORDED.glob("*/*/state.json*"))

PROFILE_OF_LXDS_OWN = {"topology-profile-default"}
IN_A_NAMESPACE_OF_THEIR_OWN_NOW = {f"l7echo-{name}" for name in ("coredns", "client", "echo", "service")}
FORESEEN = {
    "2026-11-24": PROFILE_OF_LXDS_OWN,  # no longer ours: it gets its former content back
    "2026-11-27": PROFILE_OF_LXDS_OWN | IN_A_NAMESPACE_OF_THEIR_OWN_NOW,
}
"""What of a version's stack goes. For a release: what is here is in CHANGELOG.md."""
# Those two knew the cluster by its first server's MAC address. A preview does not know that of an instance which loses
# a device, the API's former proxy, and which no earlier run has remembered; `up` does.
ON_THE_CLUSTER = dict.fromkeys(FORESEEN, ("k3s-provider", "cilium-", "fcdemo-"))


def recorded_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (folder / "passphrase").write_text(PASSPHRASE)
    return World(folder, monkeypatch)


def state_of(recorded: Path) -> str:
    packed = recorded / "state.json.gz"
    return gzip.decompress(packed.read_bytes()).decode() if packed.exists() else (recorded / "state.json").read_text()


def machines(recorded: Path) -> dict[str, Any]:
    """What the cloud of the recorded stack has."""
    resources = json.loads(state_of(recorded))["deployment"]["resources"]
    ids = {its["urn"].rpartition("::")[2]: its.get("id") for its in resources}
    vm, firewall = ids["host-instance"], ids["host-firewall"]
    made = {vm: {"type": INSTANCE}, firewall: {"type": FIREWALL, "label": "lxdserver"}}
    return {**made, "1": {"type": DEVICE, **device(made, firewall, "linode", vm)}}


def preview(stack: World, recorded: Path, **cilium: str) -> dict[str, str]:
    """What this version would do to the recorded stack, with these changes of its Cilium."""
    stack.begin(recorded / STACK_FILE)
    unpacked = stack.folder / "recorded.json"
    unpacked.write_text(state_of(recorded))
    imported = stack.pulumi("stack", "import", "--file", str(unpacked))
    assert imported.code == 0, imported.output
    with memory.opened("linode") as cloud:
        cloud["made"] = machines(recorded)
    config = yaml.safe_load((recorded / STACK_FILE).read_text())["config"]
    stack.config = {key: value for key, value in config.items() if not is_secret(value)}
    stack.setting("cilium").update(cilium)
    done = stack.pulumi("preview")
    assert done.code == 0, done.output
    return done.operations


def replaced(version: str, operations: dict[str, str]) -> set[str]:
    """What is, apart from all on the cluster at once; of that nothing is made and deleted as two resources."""
    kept = {name for name in operations if name.startswith(ON_THE_CLUSTER.get(version, ()))}
    assert {operations[name] for name in kept} <= {"create", "update", "replace"}
    return {name for name in operations.keys() - kept if operations[name] not in ("create", "update")}


@pytest.mark.parametrize(
    ("recorded", "cilium"),
    [
        pytest.param(folder, cilium, id=f"{folder.parent.name}-{folder.name}{cilium and '-'}{cilium}")
        for folder in FOLDERS
        for cilium in (("", "1.18.12") if folder.name == "control-plane" else ("",))
    ],
)
def test_nothing_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Path, cilium: str) -> None:
    """Nor, and that would be worse, made and then deleted as what it was before. With a newer Cilium too."""
    with recorded_world(tmp_path, monkeypatch) as stack:
        operations = preview(stack, recorded, **({"version": cilium} if cilium else {}))
    assert replaced(recorded.parent.name, operations) <= FORESEEN.get(recorded.parent.name, set())
    assert "host-instance" not in operations


def test_each_release_is_recorded() -> None:
    released = re.findall(r"^## v?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {(version, its) for version in released for its in STACKS} <= {
        (folder.parent.name, folder.name) for folder in FOLDERS
    }


def record(folder: Path, monkeypatch: pytest.MonkeyPatch, into: Path, **changes: dict[str, Any]) -> None:
    with recorded_world(folder, monkeypatch) as stack:
        for root, change in changes.items():
            stack.setting(root).update(change)
        stack.up()
        state = json.loads(stack.pulumi("stack", "export").output)
        for resource in state["deployment"]["resources"]:
            for where in ("sourcePosition", "stackTrace"):  # paths of the machine that recorded it
                resource.pop(where, None)
        into.mkdir(parents=True)
        (into / "state.json.gz").write_bytes(gzip.compress(f"{json.dumps(state, indent=1)}\n".encode(), mtime=0))
        shutil.copy(folder / STACK_FILE, into)


CONTROL_PLANE: dict[str, dict[str, Any]] = {
    "bgp": {"mode": "control-plane", "gracefulRestart": True},
    "k3s": {"version": "v1.32.1+k3s1"},
    "cilium": {"version": "1.17.5", "kubeProxyReplacement": True},
    "l7echo": {"enabled": True},
    "exposure": {
        "mode": "forward",
        "cidrs": ["203.0.113.0/24"],
        "forwards": [{"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080}],
    },
}

STACKS: dict[str, dict[str, dict[str, Any]]] = {"dev": {}, "control-plane": CONTROL_PLANE}

if __name__ == "__main__":
    (release,) = sys.argv[1:]
    if (RECORDED / release).exists():
        sys.exit(f"{release} is recorded already; stacks of it are out there, and its state stays as it was")
    for its, roots in STACKS.items():
        with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as context:
            record(Path(temporary), context, RECORDED / release / its, **roots)
