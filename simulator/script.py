"""How the program's scripts are called, wait and end in the pretend world."""

import importlib.util
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.scripts import awaited
from simulator import clock

vars(awaited).update(time=clock)
SCRIPTS = Path(__file__).parent.parent / "components" / "scripts"
TIMED_OUT = 124
"""Exit status of timeout(1)."""


class ExitError(Exception):
    """A script's end with a message on standard error."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Call:
    """A script, its arguments, and the seconds after which it is ended."""

    script: str
    arguments: list[str]
    seconds: float


def called(command: str) -> Call:
    """What `components.remote.Script` put into this command line. Errors: ExitError, it is something else."""
    words = shlex.split(command)
    return parsed(words[2:] if words[:2] == ["sudo", "-n"] else words)


def parsed(words: list[str]) -> Call:
    if words[:3] != ["timeout", "-k", "10"]:
        raise ExitError(f"{shlex.join(words)[:40]!r}: not simulated; only the program's own scripts are", 127)
    return program(words[8:], float(words[3]))  # between them what keeps it alone


def program(words: list[str], seconds: float) -> Call:
    interpreter, _, text, *rest = words
    if interpreter == "sh":
        return Call(rest[0], rest[1:], seconds)
    file = next((file.name for file in SCRIPTS.glob("*.py") if text.endswith(file.read_text())), None)
    if file is None:  # before it may be what it imports
        raise ExitError("a Python program that is none of components/scripts: not simulated", 127)
    return Call(file, rest, seconds)


def loaded(file: str, **pretended: Any) -> Any:
    """The script as a module, in pretend time, with these of its functions replaced."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), SCRIPTS / file)
    if spec is None or spec.loader is None:
        raise ExitError(f"{file}: not simulated", 127)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(pretended, time=clock)
    return module


def script_program(file: str, **pretended: Any) -> Callable[..., str]:
    """The script's own `main`, in pretend time, with these of its functions replaced."""
    module = loaded(file, **pretended)

    def main(*arguments: Any) -> str:
        try:
            return str(module.main(*arguments))
        except SystemExit as end:
            raise ExitError(str(end.code)) from None

    return main


def await_(limit: float, what: str, seen: Callable[[], str]) -> None:
    """Until nothing is `seen` to be missing any more, as lib.sh's await."""
    end = clock.monotonic() + limit
    while last := seen():
        if clock.monotonic() >= end:
            raise ExitError(f"{what}: not within {limit:.0f} s; last seen: {last}")
        clock.sleep(5)
