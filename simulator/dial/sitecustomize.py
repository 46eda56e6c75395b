"""Redirects connections to the pretend host's address. Python imports this by itself where PYTHONPATH has this folder.

SIMULATOR_DIAL is `ADDRESS:PORT=ADDRESS:PORT`: who connects to the first gets the second. So the pretend host may have
an address that belongs to nobody and SSH's own port, which only root could serve.
"""

import os
import socket
from typing import Any

from_, _, to = os.environ.get("SIMULATOR_DIAL", "").partition("=")


def endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


if to:
    connect, pretended, actual = socket.socket.connect, endpoint(from_), endpoint(to)

    def redirected(self: socket.socket, address: Any) -> None:
        connect(self, actual if address[:2] == pretended else address)

    socket.socket.connect = redirected  # type: ignore[method-assign, assignment]
