"""Ctrl+C, as Pulumi's engine needs it too."""

import signal


def heed() -> None:
    """Let this process, and those it starts, heed SIGINT, which a shell makes ignored by what it starts with `&`.

    The engine (3.259) ends its plugins by SIGINT, and waits 5 s in each command for those that ignore it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
