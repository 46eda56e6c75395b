"""The lab's stand-in of k3s: what it writes for programs in Go."""

import re
from pathlib import Path

import pytest
import yaml

from lab.k3s import k3s

TOKENS = ["123456.1234567890123456", "12e456.1234567890123456", "123456.12345678901234e5", "abcdef.0123456789abcdef"]


class GoLoader(yaml.SafeLoader):
    """Takes for a number what YAML 1.2 and Go's readers do; PyYAML's own wants a point and a sign in it."""


GoLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


@pytest.mark.parametrize("token", TOKENS)
def test_a_join_token_of_digits_stays_a_text(token: str) -> None:
    rules = k3s.join_rules(token, {"clusterDNS": "10.43.0.10", "clientCA": "PEM\n"})
    secret = next(item for item in yaml.load_all(rules, GoLoader) if item["kind"] == "Secret")
    assert secret["metadata"]["name"] == f"bootstrap-token-{token.partition('.')[0]}"
    parts = secret["stringData"]
    assert f"{parts['token-id']}.{parts['token-secret']}" == token
    assert {type(text) for text in parts.values()} == {str}


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_in_a_kubeconfig_stays_a_text(tmp_path: Path, token: str) -> None:
    file = k3s.kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:6444", "Q0E=", {"token": token})
    assert yaml.load(file.read_text(), GoLoader)["users"][0]["user"] == {"token": token}
    assert "    server: https://127.0.0.1:6444\n" in file.read_text()
