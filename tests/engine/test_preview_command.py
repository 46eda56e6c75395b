"""`make preview` as a user runs it, on a copy of the project with a stack file of the test's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = ("components", "lxd_resources", "policy", "scripts", "settings", "simulator", "standin")

pytestmark = pytest.mark.engine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def preview(project: Path, stack: str = "dev") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / ".venv/bin"), str(ROOT / ".cache/bin"), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", "scripts.preview", stack],
        cwd=project,
        env=os.environ | {"PATH": path, "PROVIDERS": "simulated", "PULUMI_SKIP_UPDATE_CHECK": "true"},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_shipped_stack_with_secrets_of_ones_own_which_are_not_needed(project: Path) -> None:
    own = project / "Pulumi.dev.yaml"
    own.write_text(own.read_text() + "  cilium-bgp:sshPrivateKey: {secure: v1:abc=}\nencryptionsalt: v1:theirs\n")
    before = own.read_bytes()
    done = preview(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "providers: SIMULATED command, kubernetes, linode" in done.stdout
    assert "made up for this preview: host.adminCidrs (192.0.2.1/32), sshPrivateKey" in done.stdout
    assert "to create" in done.stdout
    assert "cilium-bgp@v0.1.0 (local: policy)" in done.stdout
    assert "[mandatory]" not in done.stdout
    assert own.read_bytes() == before
    assert not list((project / ".cache").glob("preview.*"))


def test_a_map_of_secrets_is_made_up_too(project: Path) -> None:
    own = project / "Pulumi.dev.yaml"
    content = yaml.safe_load(own.read_text())
    content["config"]["cilium-bgp:bgp"]["upstreams"] = {"lan": {"address": "198.51.100.1", "asn": 65001}}
    content["config"] |= {
        "cilium-bgp:exposure": {"mode": "bgp", "cidrs": ["203.0.113.0/24"]},
        "cilium-bgp:upstreamPasswords": {"lan": {"secure": "v1:abc="}},
    }
    own.write_text(yaml.safe_dump(content))
    done = preview(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "upstreamPasswords" in done.stdout


def test_problems_and_nothing_else(project: Path) -> None:
    stack = project / "Pulumi.dev.yaml"
    stack.write_text(stack.read_text().replace("cilium-bgp:k3s:", "cilium-bgp:k3x:").replace(".32/27", ".40/27"))
    done = preview(project)
    assert done.returncode == 1
    assert done.stdout == ""
    key, pool = done.stderr.splitlines()
    assert key == "k3x: not a known key; it would have no effect. Did you mean k3s?"
    assert pool.startswith("bgp.pool: 10.26.23.40/27 has host bits set")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Pulumi.other.yaml: No such file or directory."),
        ("config: [", "Pulumi.other.yaml is not YAML: "),
        ("config: 1", "Pulumi.other.yaml: expected a mapping with the key config"),
    ],
)
def test_stack_file_that_cannot_be_read(project: Path, text: str | None, message: str) -> None:
    if text is not None:
        (project / "Pulumi.other.yaml").write_text(text)
    done = preview(project, "other")
    assert done.returncode == 1
    assert done.stderr.startswith(message)
