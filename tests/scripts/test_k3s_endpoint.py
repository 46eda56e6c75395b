"""k3s_endpoint.sh: what it writes is run through a real HAProxy, with servers that answer as Kubernetes does."""

import datetime
import http.client
import http.server
import ipaddress
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.scripts import debian
from tests.scripts.machine import Machine

NAME = "cilium-bgp-dev-api"
CONFIG, UNIT = f"/etc/haproxy/{NAME}.cfg", f"/etc/systemd/system/{NAME}.service"
LISTS = f"/var/lib/cilium-bgp/{NAME}.servers"
HAPROXY = ("haproxy", "haproxy", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0")
ONE, TWO, THREE = (f"{debian.LOOPBACK}.11.{number}" for number in (1, 2, 3))
GATEWAY, ELSEWHERE = f"{debian.LOOPBACK}.12.1", f"{debian.LOOPBACK}.13.1"
SERVERS = (f"k3s1={ONE}", f"k3s2={TWO}", f"k3s3={THREE}")


def host(machine: Machine) -> Machine:
    path, environment = debian.program(*HAPROXY)
    settings = " ".join(f"{key}={value}" for key, value in environment.items())
    # -c looks for the users that its package has made.
    machine.write("/etc/passwd", machine.read("/etc/passwd") + "haproxy:x:109:115::/var/lib/haproxy:/bin/false\n")
    machine.write("/etc/group", machine.read("/etc/group") + "haproxy:x:115:\n")
    machine.fake("haproxy", f'{settings} exec {path} "$@"')
    machine.fake("python3")
    machine.fake("journalctl", 'echo "the journal: $*"')
    machine.fake("systemctl", '[ "$1" != reload-or-restart ] || ! [ -e "$STATE/taken" ] || exit 1')
    (machine.root / "run/systemd/system").mkdir(parents=True)
    return machine


def run(machine: Machine, *servers: str, listen: str = "127.0.0.1", port: int = 16443) -> Any:
    return machine.run("k3s_endpoint.sh", NAME, listen, "10.26.23.1", str(port), *servers)


def test_a_second_run_changes_nothing_and_another_server_reloads(machine: Machine) -> None:
    done = run(host(machine), *SERVERS[:1])
    assert (done.returncode, done.stdout) == (0, "10.26.23.1:16443\n"), done.stderr
    before = machine.files()
    assert run(machine, *SERVERS[:1]).returncode == 0
    assert machine.files() == before
    assert f"systemctl reload-or-restart {NAME}" not in machine.ran
    assert run(machine, *SERVERS).returncode == 0
    assert f"systemctl reload-or-restart {NAME}" in machine.ran
    assert machine.read(LISTS).split() == [
        f"k3s{number}={server}" for number, server in enumerate((ONE, TWO, THREE), 1)
    ]


def test_says_what_may_be_in_the_way(machine: Machine) -> None:
    host(machine).write("state/taken")
    done = run(machine, *SERVERS)
    assert done.returncode == 1
    assert "does something else listen on 127.0.0.1:16443 (k3s.apiPort)?" in done.stderr
    (machine.root / "state/taken").unlink()
    assert run(machine, *SERVERS).returncode == 0
    assert f"systemctl reload-or-restart {NAME}" in machine.ran, "what never came up was not started anew"


def test_removal_leaves_nothing_of_ours(machine: Machine) -> None:
    before = host(machine).contents()
    run(machine, *SERVERS)
    assert machine.run("k3s_endpoint_remove.sh", NAME).returncode == 0
    assert f"systemctl disable --quiet --now {NAME}" in machine.ran
    assert machine.contents() == before
    assert machine.run("k3s_endpoint_remove.sh", NAME).returncode == 0


def test_haproxys_own_unit_is_switched_off_where_we_have_installed_it(machine: Machine) -> None:
    program = (host(machine).root / "programs/haproxy").rename(machine.root / "programs/haproxy.deb")
    machine.fake("apt-get", f'[ "$4" != install ] || mv {program} {program.with_suffix("")}')
    assert run(machine, *SERVERS).returncode == 0
    assert "systemctl disable --quiet --now haproxy" in machine.ran


class Api(http.server.ThreadingHTTPServer):
    """Refuses who does not say who he is, as the API server does; says its own name."""

    daemon_threads = True

    def __init__(self, address: str, certificate: Path) -> None:
        super().__init__((address, 6443), Refuses)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """A health check that ends is no error."""


class Refuses(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 401

    def do_GET(self) -> None:
        body = str(self.connection.getsockname()[0]).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def endpoint(machine: Machine) -> Iterator[int]:
    """Port of a HAProxy that runs with what the script has written."""
    path, environment = debian.program(*HAPROXY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    assert run(host(machine), *SERVERS, port=port).returncode == 0
    own = machine.root / "haproxy.cfg"
    text = machine.read(CONFIG).replace("10.26.23.1", GATEWAY)
    own.write_text(
        "\n".join(line for line in text.splitlines() if line.split()[:1] not in (["user"], ["group"])) + "\n"
    )
    log = (machine.root / "log").open("w")
    running = subprocess.Popen([path, "-db", "-f", own], env={**os.environ, **environment}, stdout=log, stderr=log)
    yield port
    running.kill()
    running.wait()


def answer(port: int, address: str = "127.0.0.1") -> str:
    """Address of the server that a new connection reaches; "" if none does."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, port, timeout=5, context=context)
    try:
        connection.request("GET", "/version")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def within(seconds: float, wanted: Any) -> None:
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def test_a_dead_server_is_taken_out_in_seconds_and_comes_back(endpoint: int, certificate: Path) -> None:
    servers = {address: Api(address, certificate) for address in (ONE, TWO)}
    within(10, lambda: {answer(endpoint) for _ in range(4)} == servers.keys())
    assert answer(endpoint, GATEWAY) in servers, "nodes reach it at the gateway"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((ELSEWHERE, endpoint), 5)

    dead = servers.pop(ONE)
    dead.shutdown()
    dead.server_close()
    within(8, lambda: {answer(endpoint) for _ in range(6)} == servers.keys())
    servers[ONE] = Api(ONE, certificate)
    within(10, lambda: {answer(endpoint) for _ in range(4)} == servers.keys())
    for server in servers.values():
        server.shutdown()
        server.server_close()


def test_a_server_that_is_not_ready_gets_nothing(
    endpoint: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refuses, "status", 503)
    server = Api(ONE, certificate)
    within(10, lambda: answer(endpoint) == "")
    monkeypatch.setattr(Refuses, "status", 401)
    within(10, lambda: answer(endpoint) == ONE)
    assert answer(endpoint) == ONE
    server.shutdown()
    server.server_close()
