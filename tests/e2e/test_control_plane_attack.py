"""A pod at the router's port, while what listens there asks for no signature."""

import pytest

from tests.e2e.attack import GATEWAY, TTLS, from_node, pod_network
from tests.e2e.conftest import Switched
from tests.e2e.stack import HOST, NODES, sessions, until

pytestmark = pytest.mark.e2e

LISTENER = """\
systemd-run --quiet --unit=listener python3 -c '
import socket, time
server = socket.create_server(("{}", 179), backlog=99)
time.sleep(600)'
"""


def test_only_what_a_node_itself_sends_arrives(control_plane: Switched) -> None:
    tried = {(GATEWAY, 179, ttl) for ttl in TTLS}
    HOST.run("systemctl", "stop", "frr")
    try:
        HOST.run("sh", "-c", LISTENER.format(GATEWAY))
        until(10, "somebody at the port", lambda: f"{GATEWAY}:179" in HOST.run("ss", "-Hltn"))
        for node in NODES:
            assert from_node(node, tried) == {(GATEWAY, 179, 255)}
            assert from_node(node, tried, pod_network(node)) == set(), "a pod has its node's address, and no more"
    finally:
        HOST.run("systemctl", "stop", "listener")
        HOST.run("systemctl", "start", "frr")
    until(60, "sessions again", lambda: sessions() == dict.fromkeys(NODES.values(), "Established"))
