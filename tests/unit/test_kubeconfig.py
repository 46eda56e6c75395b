"""make kubeconfig: the stack's in the user's own, and out of it again."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import kubeconfig
from status.stack import Stack, UnknownError

OF_THE_STACK = """
apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: "https://203.0.113.10:6443", certificate-authority-data: QQ==}}]
users: [{name: default, user: {client-certificate-data: Qg==, client-key-data: Qw==}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
"""
MINE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "work", "cluster": {"server": "https://work.example.com"}}],
    "users": [{"name": "me", "user": {"token": "mine"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me", "namespace": "team"}}],
    "current-context": "work",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kubeconfig, "read", lambda name: Stack(name, {}, {}, {"kubeconfig": OF_THE_STACK}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path / ".kube" / "config"


def content(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def test_who_had_none_has_one_that_nobody_else_reads(own: Path) -> None:
    assert kubeconfig.main(["dev"]) == 0
    its = content(own)
    assert its["current-context"] == "dev"
    assert [its[kind][0]["name"] for kind in kubeconfig.KINDS] == ["dev"] * 3
    assert its["clusters"][0]["cluster"]["server"] == "https://203.0.113.10:6443"
    assert its["contexts"][0]["context"]["cluster"] == its["contexts"][0]["context"]["user"] == "dev"
    assert own.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in own.parent.iterdir()] == ["config"], "no lock and no draft is left"


def test_what_was_there_stays_and_is_as_before_when_it_goes(own: Path) -> None:
    own.parent.mkdir()
    own.write_text(yaml.safe_dump(MINE))
    for _ in range(2):  # a second time changes nothing
        kubeconfig.main(["dev"])
        assert [its["name"] for its in content(own)["contexts"]] == ["work", "dev"]
    kubeconfig.main(["dev", "--remove"])
    assert content(own) == MINE | {"current-context": ""}


def test_another_current_context_stays_when_it_goes(own: Path) -> None:
    kubeconfig.main(["dev"])
    kubeconfig.main(["local"])
    kubeconfig.main(["dev", "--remove"])
    assert content(own)["current-context"] == "local"


def test_an_entry_of_that_name_that_is_no_stacks_is_left_alone(own: Path) -> None:
    own.parent.mkdir()
    own.write_text(yaml.safe_dump(MINE))
    with pytest.raises(SystemExit, match="there is a work that is no stack's"):
        kubeconfig.main(["dev", "--name", "work"])
    kubeconfig.main(["work", "--remove"])
    assert content(own) == MINE


def test_of_several_files_the_first_that_is_there_else_the_last(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("one", "two", "three")]
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    kubeconfig.main(["dev"])
    assert [file.exists() for file in files] == [False, False, True]
    files[1].write_text(yaml.safe_dump(MINE))
    kubeconfig.main(["local"])
    assert content(files[1])["current-context"] == "local"
    assert not own.exists()


def test_a_link_stays_a_link(own: Path, tmp_path: Path) -> None:
    own.parent.mkdir()
    own.symlink_to(tmp_path / "kept-elsewhere")
    kubeconfig.main(["dev"])
    assert own.is_symlink()
    assert content(tmp_path / "kept-elsewhere")["current-context"] == "dev"


def test_while_kubectl_writes_it_is_left_alone(own: Path) -> None:
    own.parent.mkdir()
    own.with_name("config.lock").touch()
    with pytest.raises(SystemExit, match="kubectl is changing"):
        kubeconfig.main(["dev"])
    assert not own.exists()


def test_a_file_that_cannot_be_read_is_left_alone(own: Path) -> None:
    own.parent.mkdir()
    own.write_text("clusters: [")
    with pytest.raises(SystemExit, match="is not YAML"):
        kubeconfig.main(["dev"])
    assert [file.read_text() for file in own.parent.iterdir()] == ["clusters: ["]


def test_a_stack_without_one_says_so(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "read", lambda name: Stack(name, {}, {}, {}))
    with pytest.raises(SystemExit, match="has no kubeconfig yet"):
        kubeconfig.main(["dev"])

    def nothing(_name: str) -> Stack:
        raise UnknownError("no stack named 'dev' found")

    monkeypatch.setattr(kubeconfig, "read", nothing)
    with pytest.raises(SystemExit, match="no stack named 'dev' found"):
        kubeconfig.main(["dev"])
    assert not own.exists()
