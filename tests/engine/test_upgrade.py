"""A stack that an earlier version of the program brought up: this version replaces and deletes nothing of it.

recorded/ has its state and configuration, secrets encrypted; the key in them opened a pretend host that is gone.
`python -m tests.engine.test_upgrade` records a version anew, for a release.
"""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

RECORDED = Path(__file__).parent / "recorded"
STATE, CONFIGURATION = RECORDED / "state.json", RECORDED / "Pulumi.dev.yaml"
PASSPHRASE = "for the recorded state only"


def recorded_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (folder / "passphrase").write_text(PASSPHRASE)
    return World(folder, monkeypatch)


def test_nothing_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded_world(tmp_path, monkeypatch) as stack:
        stack.begin(CONFIGURATION)
        imported = stack.pulumi("stack", "import", "--file", str(STATE))
        assert imported.code == 0, imported.output
        done = stack.pulumi("preview")
        assert done.code == 0, done.output
        assert set(done.operations.values()) <= {"create", "update"}, done.output
        assert "host-instance" not in done.operations


def record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded_world(folder, monkeypatch) as stack:
        stack.up()
        state = json.loads(stack.pulumi("stack", "export").output)
        for resource in state["deployment"]["resources"]:
            for where in ("sourcePosition", "stackTrace"):  # paths of the machine that recorded it
                resource.pop(where, None)
        STATE.write_text(json.dumps(state, indent=1) + "\n")
        shutil.copy(folder / CONFIGURATION.name, CONFIGURATION)


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as context:
        record(Path(temporary), context)
