"""Serve a folder read-only over HTTP: the lab's source of the k3s installer and of its releases.

usage: python -m lab.serve FOLDER ADDRESS PORT
"""

import functools
import http.server
import socket
import sys
from typing import IO

_IP_FREEBIND = 15  # linux/in.h; the bridge that carries ADDRESS is made later, by the program under test


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        super().server_bind()


class Handler(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source: IO[bytes], _outputfile: object) -> None:  # type: ignore[override]
        self.wfile.flush()
        self.connection.sendfile(source)

    def list_directory(self, path: object) -> None:
        self.send_error(404)


def main(folder: str, address: str, port: str) -> None:
    Server((address, int(port)), functools.partial(Handler, directory=folder)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
