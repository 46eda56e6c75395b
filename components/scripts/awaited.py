"""How Python programs of this folder wait; goes before each, as lib.sh before every shell script."""

import sys
import time
from collections.abc import Callable

PAUSE = 2
SAYS = 15
"""Seconds after which it says on the way what it waits for."""


def awaited(seconds: float, what: str, missing: Callable[[], str]) -> str:
    """Nothing, as soon as nothing is `missing` any more; else what was last, after so many seconds."""
    began = said = time.monotonic()
    while last := missing():
        now = time.monotonic()
        if now > began + seconds:
            return last
        if now >= said + SAYS:
            said = now
            line, passed = last.splitlines()[-1], now - began
            told = f"waiting for {what}: last seen {line} ({passed:.0f} of {seconds:.0f} s)"
            print(told, file=sys.stderr, flush=True)
        time.sleep(PAUSE)
    return ""


def words_of(error: Exception) -> str:
    """What a command that failed has said, or the error itself."""
    return str(getattr(error, "stderr", "") or error).strip() or type(error).__name__
