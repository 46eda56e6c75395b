"""From the stack's configuration to Settings, or to every problem in it."""

import copy
import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from settings import agent
from settings.checks import ADMIN_CIDRS, SECRETS, ended, problems
from settings.models import ExistingSettings, LinodeSettings, Settings
from settings.problems import ConfigurationError, Problem
from settings.sections import keys, sections

SHOWN_BY_PULUMI = 32
"""Exit status by which Pulumi's language host knows that the program has said what is wrong, and adds nothing."""

ROOTS = list(keys(Settings))
STAND_INS: dict[str, Any] = {"host": {"kind": "linode", "adminCidrs": ["192.0.2.1"]}, "nodes": {}}
"""For a root that must be there and cannot be read, so that the other roots are still checked."""

KINDS = "Write kind: linode, or kind: existing."
MISSING = {
    "bucket": "missing; k3s would not know where to copy snapshots to. Write the name of the bucket.",
    "host": f"has no kind; there would be no machine to work on. {KINDS}",
    "nodes": "missing; there would be no cluster. Add one, e.g. k3s1: {role: server, address: 10.26.23.11}.",
    "adminCidrs": f"missing; {ADMIN_CIDRS}",
    "role": "missing; the node would run nothing. Write server or agent.",
    "nodes.NAME.address": (
        "missing; DHCP would choose, and the node could move. Write a free address of lxd.bridge.address."
    ),
    "bgp.upstreams.NAME.address": "missing; there would be nobody to tell. Write the router's address.",
    "asn": "missing; the router would refuse the session. Write the autonomous system number that it has.",
    "exposure.client.address": "missing; there would be nobody to ask. Write the client's address or name.",
    "service": "missing; the port would lead nowhere. Write namespace/name, e.g. default/fcdemo-service.",
    "servicePort": "missing; the forward would lead nowhere. Write the Service's port, e.g. 80.",
    "hostPort": "missing; the forward would begin nowhere. Write a port of the host, e.g. 8080.",
}

Location = tuple[str | int, ...]


def parse(values: Mapping[str, object], secrets: Mapping[str, str], holding: Collection[str] = ()) -> Settings:
    """Settings from root keys: plain ones by value, secret ones as text; `holding` are those with a secret inside.

    Raises ConfigurationError with every problem: of structure, of single values, and of values against
    each other as far as those could be read.
    """
    raw: dict[str, Any] = {root: copy.deepcopy(value) for root, value in values.items() if root not in SECRETS}
    raw |= secrets
    plain = [root for root in values if root in SECRETS]
    unread = set(plain)
    found = [Problem(root, _in_plain_text(root)) for root in plain]
    found += [Problem(root, _not_for_secrets(root)) for root in values if root in holding and root != "cilium"]
    errors = _errors(raw)
    for error in errors:
        if error["loc"][0] in holding:
            error["input"] = "[secret]"
        found.append(Problem(_key(_location(error)), _text(error, raw)))
    while errors:
        for error in errors:
            unread |= _repair(raw, error)
        errors = _errors(raw)
    settings = Settings.model_validate(raw)
    found += [problem for problem in problems(settings) if not any(problem.rests_on(key) for key in unread)]
    if found:
        raise ConfigurationError([str(problem) for problem in sorted(found, key=_place)])
    settings._chart_values_secret = "cilium" in holding
    return settings


def load() -> Settings:
    """Settings of the running stack. Shows every problem through Pulumi and ends the program: no traceback."""
    import pulumi  # noqa: PLC0415 (a second to load, which the pure half does without)
    from pulumi.runtime.config import CONFIG, is_config_secret  # noqa: PLC0415

    project = pulumi.get_project()
    values: dict[str, object] = {}
    secrets: dict[str, str] = {}
    holding = set()
    for key, text in CONFIG.get().items():
        namespace, _, root = key.partition(":")
        if namespace != project:
            if difflib.get_close_matches(namespace, [project], cutoff=0.8):
                values[key] = None
        elif root in SECRETS and is_config_secret(key):
            secrets[root] = text
        else:
            values[root] = _decoded(text)
            if is_config_secret(key):
                holding.add(root)
    found = list(filter(None, [agent.problem()]))
    try:
        settings = parse(values, secrets, holding)
    except ConfigurationError as error:
        found += error.problems
    for problem in found:
        pulumi.log.error(problem)
    if found:
        raise SystemExit(SHOWN_BY_PULUMI)
    for warning in ended(settings):
        pulumi.log.warn(warning)
    return settings


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _errors(raw: dict[str, Any]) -> list[ErrorDetails]:
    try:
        Settings.model_validate(raw)
    except ValidationError as error:
        return error.errors()
    return []


def _location(error: ErrorDetails) -> Location:
    """Where the error is in the configuration: pydantic puts the kind of host in between."""
    head, *rest = error["loc"]
    return (head, *rest[1:]) if head == "host" else (head, *rest)


def _key(location: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _place(problem: Problem) -> int:
    root = problem.key.partition(".")[0].partition("[")[0]
    return ROOTS.index(root) if root in ROOTS else -1


def _repair(raw: dict[str, Any], error: ErrorDetails) -> set[str]:
    """Make one value readable: by what was meant, else by leaving it out. Returns the keys that now say nothing."""
    location = _location(error)
    suggestion = error.get("ctx", {}).get("suggestion")
    meant = set()
    if error["type"] == "extra_forbidden":
        meant = set(_meant(error, raw))
    elif error["type"] == "missing":
        location = location[:-1] or location
    if suggestion is None:
        indices = [i for i, part in enumerate(location) if isinstance(part, int)]
        location = location[: indices[0]] if indices else location
    *parents, last = location
    holder = _at(raw, parents)
    if suggestion is not None:
        holder[last] = suggestion
        return set()
    holder.pop(last, None)
    if not parents and last in STAND_INS:
        holder[last] = copy.deepcopy(STAND_INS[str(last)])
    return meant if error["type"] == "extra_forbidden" else {_key(location)}


def _text(error: ErrorDetails, raw: Mapping[str, Any]) -> str:
    """What is wrong at one place, in our words."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    shown = json.dumps(value, default=str) if len(str(value)) < 60 else f"{json.dumps(value, default=str)[:57]}…"
    match kind:
        case "refused":
            text = str(context["text"])
        case "missing":
            text = _missing(_location(error), raw)
        case "extra_forbidden":
            text = _unknown(error, raw)
        case "union_tag_not_found" if isinstance(value, dict):
            text = MISSING["host"]
        case "union_tag_invalid":
            text = f"kind {context['tag']} is no kind of host; there would be no machine to work on. {KINDS}"
        case "literal_error":
            choices = str(context["expected"]).replace("'", "")
            text = f"{shown} is not among what is known, so it cannot be used. Write {choices}."
        case "tuple_type" if isinstance(value, dict):
            text = f"{shown} is one map, not a list of them. Write '- ' before its first key."
        case "tuple_type":
            text = f"{shown} is not a list, so nothing in it can be read. Write it in brackets: [{value}]."
        case "string_type" if isinstance(value, list) and len(value) == 1:
            text = f"{shown} is a list, so it cannot be used; there is one value here. Write it alone: {value[0]}."
        case "string_type" if value is None or isinstance(value, list | dict):
            text = f"{shown} is not text, so it cannot be used. Write one word, or remove the key."
        case "string_type":
            text = f"{shown} is not text: YAML reads it as something else, and may change it. Write it in quotes."
        case "int_parsing" | "int_type" | "int_from_float":
            text = f"{shown} is not a whole number, so it cannot be used. Write digits only."
        case "bool_parsing" | "bool_type":
            text = f"{shown} is neither true nor false, so it cannot be used. Write one of them."
        case _:
            text = (
                f"{shown} is not a map of keys, so nothing in it can be read. Write the keys below it, or use "
                f"pulumi config set --path 'cilium-bgp:{_key(_location(error))}.KEY' VALUE"
            )
    return text


def _missing(location: Location, raw: Mapping[str, Any]) -> str:
    *parents, name = location
    if name != "hostKey":
        return MISSING.get(_pattern(location)) or MISSING[str(name)]
    machine = {"address": "127.0.0.1", "port": 22} | _at(raw, parents)
    port = "" if str(machine["port"]) == "22" else f" -p {machine['port']}"
    return (
        f"missing; whoever answers at {machine['address']} would be believed. Ask for it, compare it with "
        "/etc/ssh/ssh_host_ed25519_key.pub on the machine, and set it: "
        f"ssh-keyscan -t ed25519{port} {machine['address']}; pulumi config set --path cilium-bgp:{_key(location)} "
        "'ssh-ed25519 AAAA…'"
    )


def _in_plain_text(root: str) -> str:
    return (
        "set in plain text; everybody who reads the stack's file would have it. Take it for disclosed, make a "
        "new one, "
        f"and set it encrypted: pulumi config set --secret cilium-bgp:{root}"
    )


def _not_for_secrets(root: str) -> str:
    return (
        "has a secret in it; it would be in plain text in the state, in logs and on the machines, for only "
        f"cilium.values keeps secrets. Take it for disclosed where it was used so, and set {root} without --secret."
    )


def _unknown(error: ErrorDetails, raw: Mapping[str, Any]) -> str:
    known = _siblings(error)
    name = str(error["loc"][-1])
    namespace, colon, root = name.rpartition(":")
    if colon:
        return f"namespace {namespace} is nobody's; it would have no effect. Did you mean cilium-bgp:{root}?"
    if error["loc"][0] == "host" and name in {*keys(LinodeSettings), *keys(ExistingSettings)}:
        hint = f"It belongs to the other kind of host; kind is {error['loc'][1]}. Remove it."
    elif meant := _meant(error, raw):
        hint = f"Did you mean {' or '.join(meant)}?"
    else:
        hint = f"Known here: {', '.join(known)}."
    return f"not a known key; it would have no effect. {hint}"


def _meant(error: ErrorDetails, raw: Mapping[str, Any]) -> list[str]:
    """Keys that the unknown one may stand for: of that name elsewhere, else alike in the same place."""
    *parents, name = _location(error)
    given = _at(raw, parents)
    alike = {_folded(key): key for key in _siblings(error) if key not in given}
    name = str(name)
    elsewhere = [
        f"{path}.{name}"
        for path, model in sections()
        if path not in ("", "host", "exposure.client") and name in keys(model)
    ]
    if elsewhere and _folded(name) not in alike:
        return elsewhere
    return [_key((*parents, alike[close])) for close in difflib.get_close_matches(_folded(name), alike, n=1)]


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _siblings(error: ErrorDetails) -> list[str]:
    head, *rest = error["loc"][:-1] or ("",)
    if head == "host":
        return list(keys(LinodeSettings if rest == ["linode"] else ExistingSettings))
    return list(keys(dict(sections())[_pattern((head, *rest))]))


def _pattern(location: Location) -> str:
    """The key with what stands for any name and number in it, as `sections` writes them."""
    known, path = dict(sections()), ""
    for part in location:
        its = "NAME" if f"{path}.NAME" in known else part
        path = f"{path}[N]" if isinstance(part, int) else f"{path}.{its}".removeprefix(".")
    return path


def _at(raw: Any, location: Iterable[str | int]) -> Any:
    """What is there, or an empty map: the repair of another value may have left it out already."""
    for part in location:
        try:
            raw = raw[part]
        except LookupError:
            return {}
    return raw
