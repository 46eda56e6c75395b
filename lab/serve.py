"""Serve folders read-only over HTTPS, each under the name of its folder. Runs by itself, on the lab's internet.

usage: serve.py FOLDER CERTIFICATE KEY
"""

import http.server
import ssl
import sys
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    folder: Path


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server
    timeout = 60
    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        name = (self.headers.get("Host") or "").partition(":")[0]
        self.directory = str(self.server.folder / (Path(name).name or "nothing"))
        return super().translate_path(path)

    def list_directory(self, path: object) -> None:
        self.send_error(404)


def main(folder: str, certificate: str, key: str) -> None:
    server = Server(("", 443), Handler)
    server.folder = Path(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    # The handshake is the handler thread's, or a silent client would stop the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
