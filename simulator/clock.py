"""Time in the pretend world: its seconds pass in SIMULATOR_SECOND real ones (default 0.001), waits and limits alike."""

import time

from simulator import memory


def second() -> float:
    return float(memory.setting("SECOND", "0.001"))


def monotonic() -> float:
    return time.monotonic() / second()


def sleep(seconds: float) -> None:
    time.sleep(seconds * second())
