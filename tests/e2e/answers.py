"""The form of what a stack's scripts and LXD entities have answered, for comparing the simulator with the lab."""

import json
import re
from contextlib import suppress
from typing import Any

import yaml

from standin.serve import SIGNATURE

# Not the simulator's to know: what a kernel could load, and which other Services had an address when Hubble's had one.
# (Of the latter's script, proof-addresses waits for all of them.)
NOT_COMPARED = {"lxd-kernel", "hubble-addresses"}


def answers(exported: str) -> dict[str, Any]:
    """By resource, from `pulumi stack export --show-secrets`: the form of its standard output or of its outputs."""
    found = {}
    for resource in json.loads(exported)["deployment"]["resources"]:
        name = resource["urn"].rpartition("::")[2]
        outputs = {key: revealed(value) for key, value in resource.get("outputs", {}).items()}
        if resource["type"] == "command:remote:Command" and name not in NOT_COMPARED:
            found[name] = form(outputs["stdout"])
        elif resource["type"].startswith("pulumi-python:dynamic/lxd:"):
            found[name] = sorted(outputs)
    return found


def revealed(value: Any) -> Any:
    if isinstance(value, dict) and SIGNATURE in value:
        return json.loads(value["plaintext"])
    return value


def form(text: str) -> Any:
    """JSON and YAML by their keys, other text with numbers, keys and hashes masked."""
    with suppress(yaml.YAMLError):
        parsed = yaml.safe_load(text)
        if isinstance(parsed, dict | list):
            return skeleton(parsed)
    text = re.sub(r"^(k3s version \S+) .*", r"\1", text)  # and then in brackets a commit, or who it is in truth
    text = re.sub(r"^(\S+) (Not)?Ready\b.*", r"\1", text)  # who was Ready when is of each run alone
    return re.sub(r"(K10|AAAA)\S+|\b[0-9a-f]{6,}\b|\d+", "#", text)


def skeleton(value: Any) -> Any:
    match value:
        case dict():
            return {re.sub(r"\d+$", "#", str(key)): skeleton(item) for key, item in sorted(value.items())}
        case list():
            return [skeleton(item) for item in value[:1]]
    return type(value).__name__
