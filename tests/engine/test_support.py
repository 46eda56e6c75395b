"""make support on a stack that is up: the archive has what a helper needs, and no secret of the stack in any form.

The tests are one story on one stack and run in order.
"""

import base64
import json
import re
import tarfile
from pathlib import Path

import pytest

from scripts import support
from scripts.demo import STACK
from status.stack import exported
from tests.engine.world import CANARIES, World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def archived(stack: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Text of each file in it."""
    assert support.main([STACK, "--config-file", str(stack.folder / f"Pulumi.{STACK}.yaml")]) == 0
    path = Path(capsys.readouterr().out.partition(": ")[0])
    assert path.parent == folder
    assert path.name.startswith("support-dev-20")
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as tar:
        return {Path(its.name).name: tar.extractfile(its).read().decode() for its in tar}  # type: ignore[union-attr]


def test_a_helper_gets_what_he_needs_and_no_secret(
    stack: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.secrets |= {f"cilium-bgp:{key}": text for key, text in CANARIES.items()}
    stack.up()
    monkeypatch.chdir(tmp_path)
    texts = archived(stack, tmp_path, capsys)
    assert texts["versions.txt"].startswith("Python 3.")
    assert re.search(r"\$ pulumi version\nv?3\.", texts["versions.txt"])
    assert json.loads(texts["configuration.json"])["cilium-bgp:bgp"]["objectValue"]["pool"] == "10.26.23.32/27"
    assert json.loads(texts["configuration.json"])["cilium-bgp:sshPrivateKey"]["value"] == "[secret]"
    assert json.loads(texts["status.json"])["well"] is True
    assert "dev is well\n" in texts["doctor.txt"]
    assert "::k3s2-k3s-agent k3s2-k3s-agent" in texts["resources.txt"]
    assert "default/k3s1\n" in texts["host.txt"]
    assert "neighbor 10.26.23.12 peer-group" in texts["host.txt"], "what is no secret stays"
    assert "neighbor NODES password [secret]\n" in texts["host.txt"]
    assert "host.txt: cilium-bgp:bgpPassword, 1\n" in texts["replaced.txt"]
    assert "configuration.json: cilium-bgp:sshPrivateKey, 1\n" in texts["replaced.txt"]
    (tokens,) = [its["outputs"] for its in exported(STACK)["resources"] if its["type"].endswith("ClusterTokens")]
    made = [text for its in tokens.values() if isinstance(its, dict) and (text := json.loads(its["plaintext"]))]
    assert len(made) > 1, "of servers and agents"
    whole = "".join(texts.values())
    for secret in [*stack.canaries, *made]:
        assert secret not in whole
        assert base64.b64encode(secret.encode()).decode()[:-4] not in whole
    assert stack.leaked() == []


def test_a_host_that_is_not_reached_is_told_and_the_rest_is_there(
    stack: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with stack.fault(fail={"ssh": "refused"}):
        texts = archived(stack, tmp_path, capsys)
    assert "gave no SSH connection" in texts["host.txt"]
    assert json.loads(texts["status.json"])["layers"][0]["state"] == "broken"
    assert "::k3s2-k3s-agent" in texts["resources.txt"]


def test_of_a_stack_that_is_not_there_nothing_is_written(
    stack: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="nothing was written"):
        support.main(["nobody"])
    assert list(tmp_path.iterdir()) == []
