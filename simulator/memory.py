"""What the pretend world remembers between runs, and how a test makes it misbehave.

SIMULATOR_STATE is the folder of the JSON files (default: .cache/simulator). Its faults.json, if there is one,
says {"fail": {KEY: MESSAGE}, "hang": [KEY], "lose": [KEY]}.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

lock = threading.RLock()


def setting(name: str, default: str) -> str:
    return os.environ.get(f"SIMULATOR_{name}", default)


def file_of(name: str) -> Path:
    default = Path(__file__).parent.parent / ".cache" / "simulator"
    return Path(setting("STATE", str(default))) / f"{name}.json"


def read(name: str) -> dict[str, Any]:
    """The remembered values of that name."""
    file = file_of(name)
    with lock:
        state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return state


@contextlib.contextmanager
def opened(name: str) -> Iterator[dict[str, Any]]:
    """The same, to be changed: kept if the block ends well."""
    file = file_of(name)
    with lock:
        state = read(name)
        before = json.dumps(state)
        yield state
        if json.dumps(state) != before:
            file.parent.mkdir(parents=True, exist_ok=True)
            # A run that is killed here leaves the old file or the new one.
            draft = file.with_suffix(".new")
            draft.write_text(json.dumps(state, indent=1))
            draft.replace(file)


def faults(kind: str) -> Any:
    return read("faults").get(kind, {})
