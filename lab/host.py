"""This machine as the lab's host: an sshd of the lab's own on loopback, and the web server of the lab's k3s.

Both are known by pid and start time in .cache/lab/run, so that only what was started here is ever ended.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab import store

RUN = store.CACHE / "run"
SSH_PORT = 2222


def key(name: str) -> Path:
    """Path of an ed25519 key pair of the lab's own, made when it is not there."""
    path = RUN / name
    if not path.exists():
        RUN.mkdir(parents=True, exist_ok=True)
        store.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cilium-bgp lab", "-f", path])
    return path


def start_sshd() -> None:
    """An sshd on 127.0.0.1 that lets the lab's key in as root."""
    config = RUN / "sshd_config"
    host_key, client_key = key("host_key"), key("client_key")
    config.write_text(
        f"ListenAddress 127.0.0.1:{SSH_PORT}\n"
        f"HostKey {host_key}\n"
        f"AuthorizedKeysFile {client_key}.pub\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "StrictModes no\n"  # the checkout may be writable by others
        "MaxStartups 100\n"
        "PidFile none\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # privilege separation; Debian's unit would make it
    start("sshd", ["/usr/sbin/sshd", "-D", "-f", str(config)])
    await_port("127.0.0.1", SSH_PORT)


def start_site(folder: str, address: str, port: int) -> None:
    """The server of the k3s installer and its programs, on the bridge's address before there is a bridge."""
    start("site", [sys.executable, "-m", "lab.serve", folder, address, str(port)])


def start(name: str, command: list[str]) -> None:
    """Start a daemon of that name unless it runs with this very command."""
    wanted = "\0".join(command)
    recorded = RUN / f"{name}.command"
    if running(name) and recorded.read_text() == wanted:
        return
    stop(name)
    with (RUN / f"{name}.log").open("wb") as log:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=store.REPOSITORY
        )
    (RUN / f"{name}.pid").write_text(f"{daemon.pid} {started(daemon.pid)}")
    recorded.write_text(wanted)


def stop(name: str) -> None:
    """End the daemon that `start` started, if it still runs."""
    if pid := running(name):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not running(name):
                break
            time.sleep(0.1)
        else:
            raise store.BuildError(f"{name} (process {pid}) still runs 10 s after SIGTERM")
    (RUN / f"{name}.pid").unlink(missing_ok=True)


def running(name: str) -> int | None:
    """Process id of the daemon; None when it has ended, or its id has gone to another process."""
    try:
        pid, since = (RUN / f"{name}.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started(int(pid)) == since else None


def started(pid: int) -> str:
    """When a process started, in ticks since boot; "" when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def await_port(address: str, port: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if listens(address, port):
            return
        time.sleep(0.1)
    raise store.BuildError(f"nothing listens on {address}:{port} after {seconds:.0f} s; see the logs in {RUN}")
