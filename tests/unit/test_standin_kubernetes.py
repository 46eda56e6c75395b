"""How the programs kubectl and helm are called: recorded by programs of their names, through no real cluster."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from standin.kubernetes import ClusterError, Kubectl, full_kind

KUBECONFIG = '{"users": [{"user": {"token": "canary"}}]}'
RELEASE = {
    "name": "cilium",
    "namespace": "kube-system",
    "chart": "cilium",
    "version": "1.13.0",
    "repositoryOpts": {"repo": "https://charts.example"},
    "values": {"password": "canary", "absent": None},
    "timeout": 7,
}
RECORDER = f"""#!{sys.executable}
import json, os, stat, sys
config = os.environ["KUBECONFIG"]
record = {{
    "arguments": sys.argv[1:],
    "stdin": sys.stdin.read(),
    "kubeconfig": open(config).read(),
    "mode": oct(stat.S_IMODE(os.stat(config).st_mode)),
}}
json.dump(record, open(os.environ["RECORD"], "w"))
if os.environ.get("FAIL"):
    sys.exit(os.environ["FAIL"])
print(os.environ["ANSWER"])
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("kubectl", "helm"):
        program = tmp_path / name
        program.write_text(RECORDER)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("ANSWER", "{}")
    return tmp_path / "record"


def recorded(record: Path) -> Any:
    return json.loads(record.read_text())


def test_the_kubeconfig_is_in_a_private_file_and_in_no_argument(record: Path) -> None:
    cluster = Kubectl(KUBECONFIG)
    cluster.reachable()
    seen = recorded(record)
    assert (seen["kubeconfig"], seen["mode"]) == (KUBECONFIG, "0o600")
    assert "canary" not in " ".join(seen["arguments"])
    cluster.close()
    assert not Path(cluster.environment["KUBECONFIG"]).exists()


def test_objects_go_by_standard_input_with_the_field_manager(record: Path) -> None:
    Kubectl(KUBECONFIG).apply({"kind": "Secret", "stringData": {"a": "canary"}}, dry_run=False)
    seen = recorded(record)
    assert json.loads(seen["stdin"])["stringData"] == {"a": "canary"}
    assert {"--server-side", "--field-manager=pulumi-kubernetes"} <= set(seen["arguments"])
    assert "canary" not in " ".join(seen["arguments"])


def test_values_go_by_standard_input_and_nulls_stay(record: Path) -> None:
    Kubectl(KUBECONFIG).install(RELEASE)
    seen = recorded(record)
    assert json.loads(seen["stdin"]) == {"password": "canary", "absent": None}
    assert seen["arguments"] == [
        "install", "cilium", "cilium", "--version=1.13.0", "--repo=https://charts.example",
        "--namespace=kube-system", "--timeout=7s", "--wait", "-f", "-",
    ]  # fmt: skip


def test_a_release_that_skips_awaiting_does_not_wait(record: Path) -> None:
    Kubectl(KUBECONFIG).upgrade({**RELEASE, "skipAwait": True, "atomic": True})
    arguments = recorded(record)["arguments"]
    assert arguments[0] == "upgrade"
    assert "--wait" not in arguments
    assert "--atomic" in arguments


def test_the_chart_is_known_by_its_metadata(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSWER", 'apiVersion: v2\nappVersion: "1.13.0"\nname: cilium\nversion: 1.13.0\n')
    chart = Kubectl(KUBECONFIG).chart(RELEASE)
    assert chart == {"name": "cilium", "version": "1.13.0", "appVersion": "1.13.0"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Error from server (NotFound): nothing", "(NotFound): nothing"),
        ("Error: UPGRADE FAILED: another operation is in progress", "another operation is in progress"),
    ],
)
def test_failure_is_what_the_program_said(
    record: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str
) -> None:
    monkeypatch.setenv("FAIL", said)
    with pytest.raises(ClusterError) as caught:
        Kubectl(KUBECONFIG).upgrade(RELEASE)
    assert str(caught.value) == message


def test_a_kind_that_the_cluster_has_lost_means_the_object_is_gone(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", 'error: the server doesn\'t have a resource type "Pool"')
    assert Kubectl(KUBECONFIG).get("cilium.io/v2alpha1", "Pool", "", "pool") is None


def test_a_missing_program_is_named(record: Path) -> None:
    cluster = Kubectl("")
    with pytest.raises(ClusterError, match="no-such-program is neither on PATH nor in"):
        cluster.run("no-such-program")


def test_kinds_are_named_with_group_and_version() -> None:
    assert full_kind("v1", "ConfigMap") == "ConfigMap"
    assert full_kind("apps/v1", "Deployment") == "Deployment.v1.apps"
