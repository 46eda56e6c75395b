"""Nothing that a recorded version has made is made by this one under another name, type or parent: the engine would let
the new resource take the object over, and then delete it as what it was before."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.graph import SSH_KEY, Graph, Registered, plain, stack

RECORDED = sorted((Path(__file__).parents[1] / "engine" / "recorded").rglob("state.json"))
SECRET = "secure"


def configuration(recorded: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Its plain roots, and its secret ones with values of the test's own."""
    config = yaml.safe_load((recorded.parent / "Pulumi.dev.yaml").read_text())["config"]
    roots = {key.partition(":")[2]: value for key, value in config.items()}
    secret = {root for root, value in roots.items() if isinstance(value, dict) and SECRET in value}
    secrets = {root: SSH_KEY if root == "sshPrivateKey" else "a-password" for root in secret}
    return {root: value for root, value in roots.items() if root not in secret}, secrets


def is_made(type_: str, inputs: dict[str, Any]) -> Iterator[str]:
    """What in the world a resource is, if a deletion of it would be felt."""
    kind = type_.removeprefix("pulumi-python:dynamic/").split(":")
    if kind[0] == "kubernetes":
        meta = inputs.get("metadata") or {"name": inputs.get("name"), "namespace": inputs.get("namespace")}
        yield f"{inputs.get('kind', kind[-1])} {meta.get('namespace') or 'default'}/{meta['name']}"
    elif kind[0] == "lxd" and "name" in inputs:
        yield f"{kind[-1]} {inputs['name']}"
    elif kind[0] == "linode" and "label" in inputs:
        yield f"{kind[-1]} {inputs['label']}"
    elif kind[-1] == "Finalizer":
        yield f"what {inputs['file']} undoes"


def urns(its: Registered) -> set[str]:
    """That of a resource, and those under which it takes up what is there."""
    parts = its.urn.split("::")
    types = parts[2].split("$")
    return {its.urn} | {
        "::".join([*parts[:2], "$".join([*types[:-1], alias]), *parts[3:]]) for alias in its.alias_types
    }


def deleted_after_it_was_taken_over(recorded: Path, its: Graph) -> dict[str, str]:
    known = {urn for one in its for urn in urns(one)}
    made = {thing: one.name for one in its if one.custom for thing in is_made(one.type, plain(one.inputs))}
    state = json.loads(recorded.read_text())["deployment"]["resources"]
    return {
        one["urn"]: made[thing]
        for one in state
        if one["urn"] not in known
        for thing in is_made(one["type"], one.get("inputs", {}))
        if thing in made
    }


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda its: its.parent.name)
def test_nothing_that_is_taken_over_is_deleted(recorded: Path) -> None:
    roots, secrets = configuration(recorded)
    versions = [roots["cilium"]["version"], *(["1.18.12"] if roots["bgp"]["mode"] == "control-plane" else [])]
    for version in versions:
        its = stack(roots | {"cilium": roots["cilium"] | {"version": version}}, secrets)
        assert deleted_after_it_was_taken_over(recorded, its) == {}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda its: its.parent.name)
def test_each_that_would_be_is_seen(recorded: Path) -> None:
    """As if this version had named its resources otherwise."""
    its = stack(*configuration(recorded))
    felt = {one.urn for one in its if one.custom and [*is_made(one.type, plain(one.inputs))]}
    state = {one["urn"] for one in json.loads(recorded.read_text())["deployment"]["resources"]}
    renamed = Graph(
        {f"{urn}-renamed": Registered(**{**vars(one), "urn": f"{urn}-renamed"}) for urn, one in its.resources.items()}
    )
    seen = deleted_after_it_was_taken_over(recorded, renamed)
    assert {urn for urn in felt & state if "::l7echo-" not in urn} <= seen.keys()  # its namespace is another now
    assert len(felt & state) > 10
