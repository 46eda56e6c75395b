"""The stack's kubeconfig in your own, as a context of the stack's name, which becomes the current one; or out of it.

usage: kubeconfig.py STACK [--name NAME] [--remove]

Your own is what kubectl takes: of KUBECONFIG the first file that is there, else the last; without it ~/.kube/config.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from status.stack import UnknownError, read

KINDS = {"clusters": "cluster", "users": "user", "contexts": "context"}
MARK = "cilium-bgp"
"""Name of the extension by which an entry is known for ours; it tells the stack."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("kubeconfig", description="The stack's kubeconfig in your own.")
    parser.add_argument("stack")
    parser.add_argument("--name", help="of context, cluster and user; by default the stack's")
    parser.add_argument("--remove", action="store_true", help="take it out again")
    given = parser.parse_args(arguments)
    name = given.name or given.stack
    file = own()
    if given.remove:
        with changed(file) as config:
            gone = remove(config, name)
        print(f"{file}: {f'context {name} is gone' if gone else f'there was no context {name} of a stack'}")
        return 0
    try:
        kubeconfig = read(given.stack).outputs.get("kubeconfig")
    except UnknownError as error:
        sys.exit(str(error))
    if not kubeconfig:
        sys.exit(f"the stack {given.stack} has no kubeconfig yet: its first `up` has not ended well")
    with changed(file) as config:
        merge(config, yaml.safe_load(kubeconfig), name, given.stack)
    print(f"{file}: context {name}, the current one now. Out of it again: make kubeconfig-remove STACK={given.stack}")
    return 0


def own() -> Path:
    files = [Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    known = next((file for file in files if file.exists()), files[-1] if files else Path.home() / ".kube" / "config")
    return known.resolve()


def merge(config: dict[str, Any], new: dict[str, Any], name: str, stack: str) -> None:
    """Put the one cluster and user of `new` into `config`. Ends the program if the name is somebody else's."""
    mark = {"extensions": [{"name": MARK, "extension": {"stack": stack}}]}
    named = ((kind, entry) for kind in KINDS for entry in config.get(kind) or [] if entry["name"] == name)
    if foreign := [kind for kind, entry in named if not ours(entry)]:
        sys.exit(f"{', '.join(foreign)}: there is a {name} that is no stack's. Take another name: --name NAME")
    remove(config, name)
    cluster, user = new["clusters"][0]["cluster"], new["users"][0]["user"]
    entries = {"clusters": cluster | mark, "users": user | mark, "contexts": {"cluster": name, "user": name, **mark}}
    for kind, entry in entries.items():
        config[kind] = [*(config.get(kind) or []), {"name": name, KINDS[kind]: entry}]
    config["current-context"] = name


def remove(config: dict[str, Any], name: str) -> bool:
    """Whether there was one of ours of that name."""
    found = False
    for kind in KINDS:
        entries = config.get(kind) or []
        config[kind] = [entry for entry in entries if entry["name"] != name or not ours(entry)]
        found = found or len(config[kind]) < len(entries)
    if found and config.get("current-context") == name:
        config["current-context"] = ""
    return found


def ours(entry: dict[str, Any]) -> bool:
    its: dict[str, Any] = next((entry[kind] for kind in KINDS.values() if kind in entry), {})
    return any(extension["name"] == MARK for extension in its.get("extensions") or [])


@contextmanager
def changed(file: Path) -> Iterator[dict[str, Any]]:
    """The file's content, written back as it is then: at once, for its owner alone, and behind kubectl's own lock."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = file.with_name(f"{file.name}.lock")
    try:
        lock.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        sys.exit(f"{lock} is there: kubectl is changing {file}. If it is not, delete that file")
    try:
        config = (yaml.safe_load(file.read_text()) if file.exists() else None) or {"apiVersion": "v1", "kind": "Config"}
        yield config
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:  # of mode 600
            yaml.safe_dump(config, draft, sort_keys=False)
        Path(draft.name).replace(file)
    except yaml.YAMLError as error:
        sys.exit(f"{file} is not YAML: {error}")
    finally:
        lock.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
