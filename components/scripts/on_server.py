"""Run a command as root on the first server of the cluster whose API answers; its output and its end are this one's.

usage: on_server.py SOCKETS LIST WITHOUT SECONDS NAME COMMAND…
SOCKETS: where LXD's may be on this host, with colons between. LIST: file with the servers, NAME=ADDRESS, each in the
project where an instance has that address. WITHOUT: what to do where no server has ever run, or none is left: `wait`,
or `skip` (there is nothing to ask); `pass`: where none answers in time, which may be what is about to be mended.
SECONDS: how long a server is waited for. NAME: under which alone.sh, in the command, knows it on the server.
"""

import contextlib
import http.client
import json
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from components.scripts.awaited import PAUSE, awaited, words_of

READY = ["timeout", "10", "k3s", "kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"]
END = ["sh", "-c", 'read -r group _ <"/run/cilium-bgp.$0" && kill "$group"']
DATASTORE = "/var/lib/rancher/k3s/server/db"
LONGEST = 86400
UNSTARTED = "Failed to retrieve PID"
"""In LXD 5.0's error, seldom, when it has not even started a command: it is well to ask again."""
ATTEMPTS = 3


class Lxd(http.client.HTTPConnection):
    """Requests to LXD's API on its Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("lxd", timeout=LONGEST)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method: str, url: str, body: Any = None) -> bytes:
        self.request(method, url, body and json.dumps(body))
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise OSError(f"LXD answers {method} {url} with {answer.status}: {text.decode(errors='replace')[:200]}")
        return text

    def metadata(self, method: str, url: str, body: Any = None) -> Any:
        return json.loads(self.ask(method, url, body))["metadata"]

    def instances(self) -> dict[str, Any]:
        """By the address that each was given."""
        found = self.metadata("GET", "/1.0/instances?recursion=1&all-projects=true")
        return {
            device["ipv4.address"]: instance
            for instance in found
            for device in instance["expanded_devices"].values()
            if "ipv4.address" in device
        }

    def execute(self, instance: Any, command: list[str], *, live: bool = False) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command in an instance; `live`: what it has told on
        standard error is passed on while it runs, and left out here."""
        within = f"project={instance['project']}"
        body = {"command": command, "wait-for-websocket": False, "record-output": True, "interactive": False}
        for _ in range(ATTEMPTS):
            operation = self.metadata("POST", f"/1.0/instances/{instance['name']}/exec?{within}", body)["id"]
            with Told(self.path, instance, operation) if live else contextlib.nullcontext() as told:
                done = self.metadata("GET", f"/1.0/operations/{operation}/wait?{within}")
            if not done["err"].startswith(UNSTARTED):
                break
        outputs = []
        for number, known in (("1", 0), ("2", told.length if told else 0)):
            log = ((done["metadata"] or {}).get("output") or {}).get(number)
            outputs.append(self.ask("GET", f"{log}?{within}")[known:].decode(errors="replace") if log else "")
            if log:
                self.ask("DELETE", f"{log}?{within}")  # what a server has said may be secret
        if done["err"].startswith("Command not "):  # found, or executable: LXD calls that a failure of its own
            return 127, "", done["err"]
        if done["status_code"] >= 400:
            raise OSError(done["err"])
        return int(done["metadata"]["return"]), outputs[0], outputs[1]


class Told(threading.Thread):
    """Passes on whole lines that an operation in an instance has on standard error, as long as the block runs."""

    length = 0
    """Bytes that were passed on."""

    def __init__(self, path: str, instance: Any, operation: str) -> None:
        super().__init__(daemon=True)
        self.lxd, self.ended = Lxd(path), threading.Event()
        # Where LXD 5.0 has what is recorded, and later ones: they tell it when the command has ended.
        self.logs = [
            f"/1.0/instances/{instance['name']}/logs/{folder}exec_{operation}.stderr?project={instance['project']}"
            for folder in ("", "exec-output/")
        ]

    def __enter__(self) -> "Told":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.join()
        self.lxd.close()

    def run(self) -> None:
        while not self.ended.wait(PAUSE):
            for log in self.logs:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    text = self.lxd.ask("GET", log)[self.length :]
                    lines = text[: text.rfind(b"\n") + 1]
                    self.length += len(lines)
                    print(lines.decode(errors="replace"), end="", file=sys.stderr, flush=True)
                    break


def find(lxd: Lxd, servers: list[str]) -> tuple[Any, str, bool]:
    """The first server whose API answers (None: none), what the others said, and whether any has ever been started."""
    said, begun = [], False
    try:
        there = lxd.instances()
    except OSError as error:
        lxd.close()
        return None, words_of(error), True  # nobody knows: wait for it
    for name, _, address in (server.partition("=") for server in servers):
        instance = there.get(address)
        try:
            if instance is None:
                said.append(f"{name}: there is no such instance")
                continue
            if instance["status"] != "Running":
                raise OSError("it is not running")
            code, _, complaint = lxd.execute(instance, READY)
            if code == 0:
                return instance, "", True
            begun = begun or lxd.execute(instance, ["test", "-d", DATASTORE])[0] == 0
            said.append(f"{name}: {complaint.strip()[-200:] or f'kubectl ended with {code}'}")
        except OSError as error:
            lxd.close()
            begun = True
            said.append(f"{name}: {error}")
    return None, "; ".join(said) or "no server is listed", begun


def main(arguments: list[str]) -> int:
    paths, listed, without, seconds, key, *command = arguments
    path = next((path for path in paths.split(":") if Path(path).exists()), paths)
    lxd = Lxd(path)
    instance: Any = None

    def missing() -> str:
        nonlocal instance
        servers = Path(listed).read_text().split() if Path(listed).exists() else []
        instance, said, begun = find(lxd, servers)
        return "" if without == "skip" and not begun else said

    if said := awaited(float(seconds), "a server of the cluster", missing):
        silent = f"no server of the cluster answers within {float(seconds):.0f} s; last seen: {said}"
        if without != "pass":
            sys.exit(silent)
        print(silent, file=sys.stderr)
    if instance is None:
        return 0

    def stop(*_: object) -> None:
        """What LXD has started is no child of this program."""
        Lxd(path).execute(instance, [*END, key])
        sys.exit(1)

    signal.signal(signal.SIGTERM, stop)
    try:
        code, output, complaint = lxd.execute(instance, command, live=True)
    except OSError as error:
        sys.exit(f"{command[0]} on {instance['name']}: {error}")
    sys.stdout.write(output)
    sys.stderr.write(complaint)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
