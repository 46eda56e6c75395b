"""Redirects connections to the pretend host's address. Python imports this by itself where PYTHONPATH has this folder.

SIMULATOR_DIAL is `ADDRESS:PORT=ADDRESS:PORT`: who connects to the first gets the second. So the pretend host may have
an address that belongs to nobody and SSH's own port, which only root could serve. While the file `silence` is in
SIMULATOR_STATE, nothing answers, and whoever connects has waited for it in no time.
"""

import os
import socket
from pathlib import Path
from typing import Any

from_, _, to = os.environ.get("SIMULATOR_DIAL", "").partition("=")


def endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


if to:
    connect, pretended, actual = socket.socket.connect, endpoint(from_), endpoint(to)
    silence = Path(os.environ.get("SIMULATOR_STATE", ""), "silence")

    def redirected(self: socket.socket, address: Any) -> None:
        if address[:2] == pretended and silence.exists():
            raise TimeoutError("timed out")
        connect(self, actual if address[:2] == pretended else address)

    socket.socket.connect = redirected  # type: ignore[method-assign, assignment]
