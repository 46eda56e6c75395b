"""load_balancer_ips.py, proof.py and urls.py. k3s, vtysh and ip are fakes; HTTP is real, in a network of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.remote import Script
from tests.scripts.machine import composed

POOL = "10.26.23.32/27"


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.fake("python3", f'exec {sys.executable} "$@"')  # no fake: the tests' own

    def fake(self, name: str, body: str) -> None:
        """A program that pretends."""
        file = self.root / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def says(self, name: str, answer: Any) -> None:
        (self.root / f"{name}.json").write_text(json.dumps(answer))
        self.fake(name, f"cat {self.root}/{name}.json")

    def run(
        self, file: str, *parameters: str, network: str = "", uses: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`network` is sh that sets up a network that has nothing else."""
        # and a /run of its own, for other tests run the same script
        command = composed(Script(file, parameters, 30, uses))
        line = f"mount -t tmpfs none /run\n{network}\nPATH={self.root}:$PATH\n{command}"
        enter = ["unshare", "-mn" if os.geteuid() == 0 else "-rmn", "sh", "-c", line]
        done = subprocess.run(enter, capture_output=True, text=True, check=False, timeout=60)
        if done.stderr.startswith("unshare: "):
            pytest.skip(f"no network namespace: {done.stderr.strip()}")
        done.args = [file, *parameters]
        return done


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def service(name: str, *addresses: str, kind: str = "LoadBalancer") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": kind},
        "status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]} if addresses else {}},
    }


def test_prints_the_address_of_every_load_balancer(host: Host) -> None:
    services = [
        service("fcdemo-service", "10.26.23.35"),
        service("kubernetes", kind="ClusterIP"),
        service("pending"),
        service("traefik", "10.26.23.32"),
    ]
    host.says("k3s", {"items": services})
    done = host.run("load_balancer_ips.py", "1", POOL, "default/fcdemo-service")
    assert (done.returncode, done.stderr) == (0, "default/pending: no address; not of this stack, so not demanded\n")
    assert json.loads(done.stdout) == {"default/fcdemo-service": "10.26.23.35", "default/traefik": "10.26.23.32"}


def test_other_peoples_services_may_be_as_they_like(host: Host) -> None:
    named = service("named")
    named["status"]["loadBalancer"] = {"ingress": [{"hostname": "lb.example.com"}]}
    theirs = [service("two", "10.26.23.40", "10.26.23.41"), service("elsewhere", "192.0.2.1"), named]
    host.says("k3s", {"items": [service("fcdemo-service", "10.26.23.35"), *theirs]})
    done = host.run("load_balancer_ips.py", "1", POOL, "default/fcdemo-service")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["default/named"] == "lb.example.com"


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([service("other")], "default/web: no such Service of type LoadBalancer; there are default/other"),
        ([], "default/web: no such Service of type LoadBalancer; there are none"),
        (
            [service("web"), service("other", "10.26.23.32"), service("elsewhere", "192.0.2.1")],
            "default/web: no address yet; 1 of the 32 addresses of 10.26.23.32/27 are in use",
        ),
        (
            [service("web", "10.26.23.11", "10.26.23.12")],
            "default/web: 10.26.23.11, 10.26.23.12; Cilium announces only a Service with one address. Is servicelb on?",
        ),
        (
            [service("web", "10.26.23.11")],
            "default/web: 10.26.23.11 is not in the pool 10.26.23.32/27; something else gives addresses. "
            "Is servicelb on?",
        ),
    ],
)
def test_says_what_is_wrong_with_an_address(host: Host, services: list[dict[str, Any]], message: str) -> None:
    host.says("k3s", {"items": services})
    done = host.run("load_balancer_ips.py", "0", POOL, "default/web")
    assert done.returncode == 1
    assert done.stderr == f"LoadBalancer addresses: not within 0 s; last seen: {message}\n"


def test_says_what_kubectl_said(host: Host) -> None:
    host.fake("k3s", "echo 'connection refused' >&2; exit 1")
    done = host.run("load_balancer_ips.py", "0", POOL, "default/web")
    assert done.returncode == 1
    assert done.stderr == "LoadBalancer addresses: not within 0 s; last seen: connection refused\n"


def test_an_answer_that_is_no_json_is_asked_again(host: Host) -> None:
    host.says("answer", {"items": [service("web", "10.26.23.35")]})
    host.fake("k3s", f"[ -e {host.root}/asked ] && exec {host.root}/answer; : >{host.root}/asked; echo 'warning'")
    done = host.run("load_balancer_ips.py", "9", POOL, "default/web")
    assert (done.returncode, done.stderr) == (0, "")


NODES = {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12"}
ADDRESSES = {"default/fcdemo-service": "10.26.23.35"}


def peers(**states: str) -> dict[str, Any]:
    return {"peers": {NODES[node]: {"state": state, "pfxRcd": 4} for node, state in states.items()}}


def proof(
    host: Host,
    *http: str,
    network: str = "",
    others: dict[str, str] | None = None,
    beyond: dict[str, list[str]] | None = None,
) -> subprocess.CompletedProcess[str]:
    addresses, own = json.dumps(ADDRESSES | (others or {})), json.dumps(list(ADDRESSES))
    return host.run(
        "proof.py", "0", json.dumps(NODES), json.dumps(beyond or {}), addresses, own, *http, network=network
    )


def test_reports_sessions_next_hops_and_an_answer(host: Host) -> None:
    host.says("vtysh", peers(k3s1="Established", k3s2="Established"))
    host.says("ip", [{"dst": "10.26.23.35", "nexthops": [{"gateway": address} for address in NODES.values()]}])
    serve = f"""ip link set lo up && ip address add 10.26.23.35/32 dev lo
        {sys.executable} -m http.server -d {host.root} -b 10.26.23.35 80 >/dev/null 2>&1 &
        trap "kill $!" EXIT
        until curl -s -o /dev/null http://10.26.23.35/; do sleep 0.1; done
        export http_proxy=http://127.0.0.1:9/"""
    done = proof(host, "default/fcdemo-service", network=serve)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "sessions": {
            node: {"address": address, "state": "Established", "prefixes": 4} for node, address in NODES.items()
        },
        "upstreams": {},
        "routes": {"10.26.23.35": ["10.26.23.11", "10.26.23.12"]},
        "http": {"default/fcdemo-service": 200},
    }


def test_reports_a_single_next_hop_too(host: Host) -> None:
    host.says("vtysh", peers(k3s1="Established", k3s2="Established"))
    host.says("ip", [{"dst": "10.26.23.35", "gateway": "10.26.23.11", "dev": "lxdbr0"}])
    done = proof(host)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["routes"] == {"10.26.23.35": ["10.26.23.11"]}


def test_says_all_that_does_not_hold(host: Host) -> None:
    host.says("vtysh", peers(k3s1="Active"))
    host.says("ip", [])
    done = proof(host, "default/fcdemo-service")
    assert done.returncode == 1
    first, *wrong = done.stderr.splitlines()
    assert first == "not proven within 0 s; last seen:"
    assert [line.split(";")[0] for line in wrong[:3]] == [
        "node k3s1 (10.26.23.11): BGP session is Active",
        "node k3s2 (10.26.23.12): BGP session is unknown to the router",
        "default/fcdemo-service (10.26.23.35): no BGP route in the kernel",
    ]
    assert (
        wrong[3] == "default/fcdemo-service: HTTP answered <urlopen error [Errno 101] Network is unreachable>, not 200"
    )


def test_says_what_vtysh_said(host: Host) -> None:
    host.fake("vtysh", "echo 'failed to connect to any daemons.' >&2; exit 1")
    done = proof(host)
    assert done.returncode == 1
    assert done.stderr == "not proven within 0 s; last seen:\nfailed to connect to any daemons.\n"


def test_says_what_upstreams_were_told_and_what_they_were_not(host: Host) -> None:
    all_ = peers(k3s1="Established", k3s2="Established")
    all_["peers"] |= {"192.0.2.1": {"state": "Established"}, "192.0.2.2": {"state": "Established"}}
    told = {"192.0.2.1": ["10.26.23.35/32"], "192.0.2.2": ["10.26.23.32/27"]}
    answers = {"summary": all_} | {at: {"advertisedRoutes": {its: {} for its in has}} for at, has in told.items()}
    for name, answer in answers.items():
        (host.root / f"{name}.json").write_text(json.dumps(answer))
    host.fake(
        "vtysh",
        f'case "$2" in *neighbors*) set -- $2; cat {host.root}/$6.json ;; *) cat {host.root}/summary.json ;; esac',
    )
    host.says("ip", [{"dst": "10.26.23.35", "gateway": "10.26.23.11"}])
    beyond = {"lan": ["192.0.2.1", ""], "far": ["192.0.2.2", "10.26.23.32/27"]}
    done = proof(host, beyond=beyond)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["upstreams"] == {
        "lan": {"address": "192.0.2.1", "state": "Established", "told": ["10.26.23.35/32"]},
        "far": {"address": "192.0.2.2", "state": "Established", "told": ["10.26.23.32/27"]},
    }
    done = proof(host, beyond={**beyond, "far": ["192.0.2.2", ""], "off": ["192.0.2.3", ""]})
    assert done.returncode == 1
    assert [line.split(";")[0] for line in done.stderr.splitlines()[1:]] == [
        "upstream far (192.0.2.2): it was not told of 10.26.23.35/32",
        "upstream off (192.0.2.3): BGP session is unknown to the router",
    ]


def test_demands_no_route_to_what_other_people_have(host: Host) -> None:
    host.says("vtysh", peers(k3s1="Established", k3s2="Established"))
    host.fake("ip", """[ "$4" != 10.26.23.35/32 ] || { echo '[{"gateway": "10.26.23.11"}]'; exit; }; echo '[]'""")
    others = {"other/idle": "10.26.23.40", "other/named": "lb.example.com"}
    done = proof(host, others=others)
    assert done.returncode == 0
    assert json.loads(done.stdout)["routes"] == {
        "10.26.23.35": ["10.26.23.11"],
        "10.26.23.40": [],
        "lb.example.com": [],
    }
    assert done.stderr.splitlines() == [
        f"{name} ({address}): no BGP route in the kernel; Cilium announces a Service only with a ready endpoint; not "
        "of this stack, so not demanded"
        for name, address in others.items()
    ]


SERVER = """
import http.server, socket, sys, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(int(self.path[1:])); self.end_headers()
    def log_message(self, *_): pass
threading.Thread(target=http.server.HTTPServer(("127.0.0.1", 80), Answer).serve_forever, daemon=True).start()
other = socket.create_server(("127.0.0.1", 81))
print("serves", flush=True)
while True:
    client, _ = other.accept(); client.recv(9); client.sendall(b"PRI * HTTP/2.0"); client.close()
"""


def urls(host: Host, urls: dict[str, str], *http: str) -> subprocess.CompletedProcess[str]:
    (host.root / "server.py").write_text(SERVER)
    network = f"""ip link set lo up; export http_proxy=http://127.0.0.1:9/
        mkfifo {host.root}/started; {sys.executable} {host.root}/server.py >{host.root}/started &
        trap "kill $!" EXIT; read -r _ <{host.root}/started"""
    return host.run("urls.py", "0", json.dumps(urls), *http, network=network)


def test_urls_that_answer_are_printed(host: Host) -> None:
    asked = {"a/demo": "http://127.0.0.1:80/200", "a/web": "http://127.0.0.1:80/404", "a/grpc": "http://127.0.0.1:81"}
    done = urls(host, asked, "a/demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == asked


def test_urls_that_do_not_answer_are_not_claimed(host: Host) -> None:
    asked = {"a/demo": "http://127.0.0.1:80/502", "a/dead": "http://127.0.0.1:82", "a/none": "https://127.0.0.1:83"}
    done = urls(host, asked, "a/demo")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "exposed URLs: not within 0 s; last seen:",
        "a/demo: http://127.0.0.1:80/502 answered 502, not 200",
        "a/dead: nothing answers at http://127.0.0.1:82: <urlopen error [Errno 111] Connection refused>",
        "a/none: nothing answers at https://127.0.0.1:83: <urlopen error [Errno 111] Connection refused>",
    ]
