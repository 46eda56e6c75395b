"""make tunnel: Services of the stack on this machine, several at once. SSH and HTTP are real."""

import asyncio
import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from scripts import tunnel
from status.stack import Stack
from tests.unit.ssh import Machine, one_machine


@pytest.fixture
def host() -> Iterator[Machine]:
    with one_machine() as host:
        yield host


@pytest.fixture
def web() -> Iterator[int]:
    """Port of a Service behind the host."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def free(count: int) -> list[int]:
    with ExitStack() as held:
        listening = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [its.getsockname()[1] for its in listening]


def stack(host: Machine, web: int, **here: int) -> Stack:
    lines = {f"default/{name}": f"ssh root@h -N -L {port}:127.0.0.1:{web}" for name, port in here.items()}
    return Stack("dev", host.way(), {}, {"ssh_commands": {"host": "ssh root@h", **lines}})


def test_each_at_a_port_of_its_own(host: Machine, web: int) -> None:
    one, two = free(2)

    async def asked() -> list[int]:
        async with tunnel.opened(stack(host, web, one=one, two=two)) as (_, said):
            assert [line.split() for line in said] == [
                [f"http://localhost:{one}", "default/one"],
                [f"http://localhost:{two}", "default/two"],
            ]
            urls = [f"http://127.0.0.1:{port}/" for port in (one, two)]
            return [(await asyncio.to_thread(urllib.request.urlopen, url)).status for url in urls]

    assert asyncio.run(asked()) == [204, 204]


def test_a_port_that_is_taken_is_told_and_the_others_are_there(host: Machine, web: int) -> None:
    (other,) = free(1)

    async def said() -> list[str]:
        async with tunnel.opened(stack(host, web, taken=web, other=other)) as (_, lines):
            return lines

    taken, opened = asyncio.run(said())
    assert taken.endswith("default/taken: not opened, Address already in use")
    assert opened.endswith("default/other")


def test_a_host_that_is_not_reached_is_told(host: Machine, web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    its = stack(host, web, one=1)
    monkeypatch.setattr(tunnel, "read", lambda _name: Stack("dev", {**its.way, "port": port}, {}, its.outputs))
    with pytest.raises(SystemExit, match="gave no SSH connection"):
        tunnel.main("dev")
    monkeypatch.setattr(tunnel, "read", lambda _name: Stack("dev", its.way, {}, {}))
    with pytest.raises(SystemExit, match="has no Service to bring here"):
        tunnel.main("dev")
