"""Every file in valid/ is accepted; every file in invalid/ gets exactly the messages that it lists.

A file has `values` (root keys; each replaces the root of BASE), perhaps `secrets` (a name in angle brackets is a
key made for this run) and `without` (roots of BASE to leave out).
"""

import base64
import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import settings

HERE = Path(__file__).parent
BASE: dict[str, Any] = {
    "host": {"kind": "linode", "adminCidrs": ["203.0.113.7/32"]},
    "nodes": {
        "k3s1": {"role": "server", "address": "10.26.23.11"},
        "k3s2": {"role": "agent", "address": "10.26.23.12"},
        "k3s3": {"role": "agent", "address": "10.26.23.13"},
    },
}
NO_CIPHER = b"\0\0\0\4none\0\0\0\4none\0\0\0\0"
AES_AND_BCRYPT = b"\0\0\0\12aes256-ctr\0\0\0\6bcrypt\0\0\0\x18\0\0\0\x10" + bytes(16) + b"\0\0\0\x10"


@cache
def key(name: str) -> str:
    """A secret by the name that stands for it in a file."""
    if not name.startswith("<"):
        return name
    if name == "<rsa in PEM>":
        large = rsa.generate_private_key(65537, 2048)
        return large.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    private = ed25519.Ed25519PrivateKey.generate()
    if name == "<public half>":
        return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    if name == "<PKCS8 with passphrase>":
        encrypted = BestAvailableEncryption(b"passphrase")
        return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted).decode()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    if name == "<with passphrase>":
        # Only the header says so: to really encrypt, cryptography wants another package.
        begin, *body, end, _ = text.split("\n")
        blob = base64.b64decode("".join(body)).replace(NO_CIPHER, AES_AND_BCRYPT, 1)
        blob = blob[:-140] + (128).to_bytes(4, "big") + bytes(128)
        return f"{begin}\n{base64.b64encode(blob).decode()}\n{end}\n"
    return text[:-120] if name == "<cut off>" else text


def parse(case: dict[str, Any]) -> settings.Settings:
    """What the program does with the case."""
    values = copy.deepcopy(BASE) | case.get("values", {})
    for root in case.get("without", []):
        values.pop(root, None)
    secrets = case.get("secrets", {"sshPrivateKey": "<ed25519>"})
    return settings.parse(values, {root: key(name) for root, name in secrets.items()})


def outcome(case: dict[str, Any]) -> list[str]:
    """The messages that the case gets."""
    try:
        parse(case)
    except settings.ConfigurationError as error:
        return error.problems
    return []


def cases(folder: str) -> list[Any]:
    """The files of a folder, read and named."""
    return [pytest.param(yaml.safe_load(path.read_text()), id=path.stem) for path in sorted((HERE / folder).iterdir())]


@pytest.mark.parametrize("case", cases("invalid"))
def test_a_bad_configuration_is_told_all_of_its_problems(case: dict[str, Any]) -> None:
    assert outcome(case) == case["messages"]
    assert case["messages"]


@pytest.mark.parametrize("case", cases("valid"))
def test_a_good_configuration_has_no_problem(case: dict[str, Any]) -> None:
    assert outcome(case) == []


@pytest.mark.parametrize("case", cases("invalid"))
def test_a_message_is_one_line_that_ends(case: dict[str, Any]) -> None:
    for message in outcome(case):
        assert "\n" not in message
        assert "; " in message or ". " in message, "no consequence"


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(cases("invalid")) >= 40
    assert len(cases("valid")) >= 10
