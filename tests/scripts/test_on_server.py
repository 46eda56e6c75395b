"""on_server.py, with an LXD that pretends on a Unix socket of its own; commands are run here."""

import http.server
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

PROJECT = "cluster"
PROGRAM = "components.scripts.on_server"
# Somebody else's instance of the same name.
OTHERS = {"name": "k3s1", "project": "default", "expanded_devices": {"eth0": {"type": "nic"}}}


class Lxd(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers for instances; `ready` are those whose API answers, `begun` those that have a datastore."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.instances: dict[str, str] = {}
        self.ready: set[str] = set()
        self.begun: set[str] = set()
        self.logs: dict[str, Path] = {}
        self.recorded = "exec-output/"
        """Where later LXDs than 5.0 have what a command has said."""
        self.operations: list[dict[str, Any]] = []
        self.executed: list[tuple[str, list[str]]] = []
        self.unstarted = 0
        """How many commands more LXD 5.0 fails to start, as it does now and then; not those that look for a server."""

    def described(self, name: str) -> dict[str, Any]:
        device = {"type": "nic", "ipv4.address": f"10.26.23.1{name[-1]}"}
        its = {"name": name, "project": PROJECT, "status": self.instances[name]}
        return its | {"expanded_devices": {"eth0": device, "root": {"type": "disk"}}}

    def execute(self, name: str, command: list[str]) -> dict[str, Any]:
        if self.unstarted and "kubectl" not in command:
            self.unstarted -= 1
            err = "Failed to retrieve PID of executing child process"
            self.operations.append({"status_code": 400, "err": err, "metadata": None})
            return {"id": str(len(self.operations) - 1)}
        self.executed.append((name, command))
        number = len(self.operations)
        if "k3s" in command and name not in self.ready | self.begun:
            self.operations.append({"status_code": 400, "err": "Command not found", "metadata": None})
            return {"id": str(number)}
        if "kubectl" in command:
            command = ["echo", "ok"] if name in self.ready else ["sh", "-c", "echo connection refused >&2; exit 1"]
        elif command[:2] == ["test", "-d"]:
            command = ["true" if name in self.begun else "false"]
        paths = {}
        for stream, file in (("1", "stdout"), ("2", "stderr")):
            path = paths[stream] = f"/1.0/instances/{name}/logs/{self.recorded}exec_{number}.{file}"
            self.logs[path] = Path(f"{self.server_address!s}.{number}.{file}")
        with self.logs[paths["1"]].open("w") as output, self.logs[paths["2"]].open("w") as complaint:
            process = subprocess.Popen(command, stdout=output, stderr=complaint)
        self.operations.append({"process": process, "output": paths})
        return {"id": str(number)}

    def ended(self, number: int) -> dict[str, Any]:
        operation = self.operations[number]
        if "process" in operation:
            code = operation["process"].wait()
            return {"status_code": 200, "err": "", "metadata": {"return": code, "output": operation["output"]}}
        return operation


class Handler(http.server.BaseHTTPRequestHandler):
    server: Lxd

    def address_string(self) -> str:
        return "socket"

    def reply(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def metadata(self, found: Any) -> None:
        self.reply(200, json.dumps({"metadata": found}))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, parts = parse_qs(url.query), url.path.split("/")
        if query != {"recursion": ["1"], "all-projects": ["true"]}:
            assert query == {"project": [PROJECT]}
        if url.path in self.server.logs:
            self.reply(200, self.server.logs[url.path].read_text())
        elif "logs" in parts:
            self.reply(404, "")
        elif parts[2] == "operations":
            self.metadata(self.server.ended(int(parts[3])))
        else:
            self.metadata([*map(self.server.described, self.server.instances), {**OTHERS, "status": "Running"}])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (body["wait-for-websocket"], body["record-output"]) == (False, True)
        self.metadata(self.server.execute(self.path.split("/")[3], body["command"]))

    def do_DELETE(self) -> None:
        del self.server.logs[urlsplit(self.path).path]
        self.metadata({})

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def lxd(tmp_path: Path) -> Iterator[Lxd]:
    with Lxd(str(tmp_path / "unix.socket")) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        serving.instances = dict.fromkeys(("k3s1", "k3s2", "k3s3"), "Running")
        (tmp_path / "servers").write_text("k3s1=10.26.23.11 k3s2=10.26.23.12 k3s3=10.26.23.13\n")
        yield serving
        serving.shutdown()


def ask(lxd: Lxd, *command: str, without: str = "wait", seconds: str = "1") -> "subprocess.CompletedProcess[str]":
    folder = Path(str(lxd.server_address)).parent
    which = [str(lxd.server_address), str(folder / "servers"), without, seconds, "dev.it"]
    line = [sys.executable, "-m", PROGRAM, *which, *command]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_the_first_server_that_answers_runs_it(lxd: Lxd) -> None:
    lxd.instances["k3s1"] = "Stopped"
    lxd.ready = {"k3s3"}
    done = ask(lxd, "sh", "-c", "echo said; echo complained >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "complained\n")
    assert [name for name, command in lxd.executed if command[0] == "sh"] == ["k3s3"]
    assert lxd.logs == {}, "what a server has said may be secret"


@pytest.mark.parametrize("folder", ["", "exec-output/"])
def test_what_it_waits_for_is_told_while_it_waits(lxd: Lxd, tmp_path: Path, folder: str) -> None:
    lxd.ready, lxd.recorded = {"k3s1"}, folder
    which = [str(lxd.server_address), str(tmp_path / "servers"), "wait", "9", "dev.it"]
    waits = f"echo begun >&2; until [ -e {tmp_path}/heard ]; do sleep 0.1; done; echo said; echo ended >&2"
    command = [sys.executable, "-m", PROGRAM, *which, "timeout", "30", "sh", "-c", waits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        assert asking.stdout
        assert asking.stderr
        assert asking.stderr.readline() == "begun\n"
        (tmp_path / "heard").touch()
        assert (asking.stdout.read(), asking.stderr.read()) == ("said\n", "ended\n")
    assert asking.returncode == 0


def test_a_command_that_lxd_has_not_started_is_tried_again(lxd: Lxd) -> None:
    lxd.ready, lxd.unstarted = {"k3s1"}, 2
    assert ask(lxd, "echo", "here", seconds="0").stdout == "here\n"


def test_a_command_that_lxd_never_starts_fails_with_its_words(lxd: Lxd) -> None:
    lxd.ready, lxd.unstarted = {"k3s1"}, 9
    done = ask(lxd, "echo", "here")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "echo on k3s1: Failed to retrieve PID of executing child process\n"


def test_an_instance_that_is_gone_is_passed_over(lxd: Lxd) -> None:
    del lxd.instances["k3s1"]
    lxd.ready = {"k3s2"}
    assert ask(lxd, "echo", "here").stdout == "here\n"


def test_one_that_comes_late_is_waited_for(lxd: Lxd) -> None:
    threading.Timer(1, lxd.ready.add, ["k3s2"]).start()
    assert ask(lxd, "echo", "here", seconds="30").stdout == "here\n"


def test_says_what_each_server_said(lxd: Lxd) -> None:
    lxd.instances["k3s2"] = "Stopped"
    lxd.begun = {"k3s1"}
    done = ask(lxd, "true")
    assert done.returncode == 1
    said = "last seen: k3s1: connection refused; k3s2: it is not running; k3s3: Command not found"
    assert f"no server of the cluster answers within 1 s; {said}" in done.stderr


@pytest.mark.parametrize("listed", [True, False])
def test_where_no_server_has_ever_run_there_is_nothing_to_ask(lxd: Lxd, tmp_path: Path, listed: bool) -> None:
    if not listed:
        (tmp_path / "servers").unlink()
    done = ask(lxd, "true", without="skip")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ask(lxd, "true").returncode == 1


def test_where_no_server_is_left_there_is_nothing_to_ask(lxd: Lxd) -> None:
    lxd.instances.clear()
    assert ask(lxd, "true", without="skip").returncode == 0
    assert ask(lxd, "true").returncode == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_cluster_that_does_not_answer_is_not_one_that_never_was(lxd: Lxd, begun: bool) -> None:
    lxd.begun = {"k3s2"} if begun else set()
    lxd.instances["k3s3"] = "Running" if begun else "Stopped"  # nobody can know what a stopped one has
    assert ask(lxd, "true", without="skip").returncode == 1


def test_what_may_be_mended_by_what_comes_next_is_no_obstacle(lxd: Lxd) -> None:
    lxd.begun = {"k3s1"}
    done = ask(lxd, "true", without="pass")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no server of the cluster answers within 1 s" in done.stderr
    lxd.ready = {"k3s1"}
    assert ask(lxd, "false", without="pass").returncode == 1


def test_what_it_has_started_in_a_server_ends_with_it(lxd: Lxd, tmp_path: Path) -> None:
    lxd.ready = {"k3s1"}
    which = [str(lxd.server_address), str(tmp_path / "servers"), "wait", "9", "dev.it"]
    asking = subprocess.Popen([sys.executable, "-m", PROGRAM, *which, "sleep", "3"])
    while not any(command == ["sleep", "3"] for _, command in lxd.executed):
        time.sleep(0.05)
    asking.terminate()
    assert asking.wait(30) == 1
    name, command = lxd.executed[-1]
    assert name == "k3s1"
    assert command[-1] == "dev.it"
    assert "/run/cilium-bgp.$0" in command[2]
