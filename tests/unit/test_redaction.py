"""What others read has no secret of a stack in it, in whatever form, and is otherwise as it was."""

import base64
import json
from collections import Counter

import pytest

from scripts.redaction import Redaction
from simulator.host import new_key
from status.stack import SIGNATURE

TOKEN = "5d41402abc4b2a76b9719d911017c592"
KEY = new_key()
URN = "urn:pulumi:dev::cilium-bgp::cilium-bgp:index:RandomHex::k3s-token"


def secret(value: object) -> dict[str, str]:
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


RESOURCES = [
    {"urn": URN, "outputs": {"value": secret(TOKEN), "way": secret({"host": "203.0.113.10", "user": "root"})}},
    {"urn": f"{URN}-2", "outputs": {"address": "203.0.113.10", "stdin": secret(f"token: {TOKEN}\n")}},
]
REDACTION = Redaction({KEY: "sshPrivateKey", "pass": "bgpPassword"}, RESOURCES)


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        f"K10abc::server:{TOKEN}",
        json.dumps({"token": TOKEN}),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(f"x{TOKEN}x".encode()).decode(),
        base64.b64encode(f"xy{TOKEN}".encode()).decode(),
    ],
)
def test_a_token_in_a_log_is_gone_in_each_form(form: str) -> None:
    text, found = REDACTION.of(f"Nov 28 k3s[1]: started with {form} on k3s1")
    assert text.startswith("Nov 28 k3s[1]: started with ")
    assert text.endswith(" on k3s1")
    assert "[secret]" in text
    assert TOKEN not in text
    assert base64.b64encode(TOKEN.encode()).decode()[4:-4] not in text
    assert found == {"k3s-token outputs value": 1}


@pytest.mark.parametrize(
    "form",
    [KEY, json.dumps(KEY), KEY.splitlines()[2], base64.b64encode(KEY.encode()).decode()],
    ids=["whole", "escaped", "a line", "in base64"],
)
def test_a_private_key_is_gone_whole_or_a_line_of_it(form: str) -> None:
    text, found = REDACTION.of(f"before {form} after")
    assert not any(line in text for line in KEY.splitlines()[1:-1])
    assert base64.b64encode(KEY.encode()).decode()[40:80] not in text
    assert found["sshPrivateKey"] == 1


def test_keys_and_tokens_of_others_are_gone_too() -> None:
    text, found = REDACTION.of(f"{new_key()}and K10{'0' * 64}::node:theirs and eyJhbGciOiJS.eyJpc3Mi.c2lnbmF0")
    assert text == "[secret]\nand [secret] and [secret]"
    assert found >= Counter({"any private key": 1, "any token of k3s": 1, "any JSON web token": 1})


def test_what_somebody_has_set_is_gone_however_short() -> None:
    assert REDACTION.of("neighbor NODES password pass")[0] == "neighbor NODES [secret]word [secret]"


def test_what_is_no_secret_stays() -> None:
    said = "root@203.0.113.10: k3s1 in /var/lib/rancher/k3s/server, 10.26.23.35 by 10.26.23.11"
    assert REDACTION.of(said) == (said, {})
