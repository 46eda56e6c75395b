"""Run a command as root on the first server of the cluster whose API answers; its output and its end are this one's.

usage: on_server.py SOCKETS PROJECT LIST WITHOUT SECONDS NAME COMMAND…
SOCKETS: where LXD's may be on this host, with colons between. PROJECT: whose instances the servers are. LIST: file with
their names. WITHOUT: what to do where no server has ever run, or none is left: `wait`, or `skip` (there is nothing to
ask). SECONDS: how long a server is waited for. NAME: under which alone.sh, in the command, knows it on the server.
"""

import http.client
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

READY = ["timeout", "10", "k3s", "kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"]
END = ["sh", "-c", 'read -r group _ <"/run/cilium-bgp.$0" && kill "$group"']
DATASTORE = "/var/lib/rancher/k3s/server/db"
LONGEST = 86400


class MissingError(OSError):
    """LXD has no such instance."""


class Lxd(http.client.HTTPConnection):
    """Requests to LXD's API on its Unix socket."""

    def __init__(self, path: str, project: str) -> None:
        super().__init__("lxd", timeout=LONGEST)
        self.path, self.project = path, project

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method: str, url: str, body: Any = None) -> bytes:
        self.request(method, f"{url}{'&' if '?' in url else '?'}project={self.project}", body and json.dumps(body))
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            said = f"LXD answers {method} {url} with {answer.status}: {text.decode(errors='replace')[:200]}"
            raise MissingError(said) if answer.status == http.HTTPStatus.NOT_FOUND else OSError(said)
        return text

    def metadata(self, method: str, url: str, body: Any = None) -> Any:
        return json.loads(self.ask(method, url, body))["metadata"]

    def execute(self, name: str, command: list[str]) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command in an instance."""
        body = {"command": command, "wait-for-websocket": False, "record-output": True, "interactive": False}
        operation = self.metadata("POST", f"/1.0/instances/{name}/exec", body)["id"]
        done = self.metadata("GET", f"/1.0/operations/{operation}/wait")
        outputs = []
        for number in ("1", "2"):
            log = ((done["metadata"] or {}).get("output") or {}).get(number)
            outputs.append(self.ask("GET", log).decode(errors="replace") if log else "")
            if log:
                self.ask("DELETE", log)  # what a server has said may be secret
        if done["err"].startswith("Command not "):  # found, or executable: LXD calls that a failure of its own
            return 127, "", done["err"]
        if done["status_code"] >= 400:
            raise OSError(done["err"])
        return int(done["metadata"]["return"]), outputs[0], outputs[1]


def find(lxd: Lxd, names: list[str]) -> tuple[str, str, bool]:
    """The first server whose API answers ("": none), what the others said, and whether any has ever been started."""
    said, begun = [], False
    for name in names:
        try:
            if lxd.metadata("GET", f"/1.0/instances/{name}")["status"] != "Running":
                raise OSError("it is not running")
            code, _, complaint = lxd.execute(name, READY)
            if code == 0:
                return name, "", True
            begun = begun or lxd.execute(name, ["test", "-d", DATASTORE])[0] == 0
            said.append(f"{name}: {complaint.strip()[-200:] or f'kubectl ended with {code}'}")
        except OSError as error:
            lxd.close()
            begun = begun or not isinstance(error, MissingError)  # nobody knows: wait for it
            said.append(f"{name}: {error}")
    return "", "; ".join(said) or "no server is listed", begun


def main(arguments: list[str]) -> int:
    paths, project, listed, without, seconds, key, *command = arguments
    path = next((path for path in paths.split(":") if Path(path).exists()), paths)
    lxd = Lxd(path, project)
    end = time.monotonic() + float(seconds)
    while True:
        names = Path(listed).read_text().split() if Path(listed).exists() else []
        name, said, begun = find(lxd, names)
        if name:
            break
        if without == "skip" and not begun:
            return 0
        if time.monotonic() > end:
            sys.exit(f"no server of the cluster answers within {float(seconds):.0f} s; last seen: {said}")
        time.sleep(2)

    def stop(*_: object) -> None:
        """What LXD has started is no child of this program."""
        Lxd(path, project).execute(name, [*END, key])
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    code, output, complaint = lxd.execute(name, command)
    sys.stdout.write(output)
    sys.stderr.write(complaint)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
