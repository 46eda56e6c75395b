"""A dead node is taken out, then everything."""

from typing import Any

import pytest

from lab import stack
from tests.e2e import machine
from tests.e2e.attack import listening_on_the_host
from tests.e2e.conftest import Switched
from tests.e2e.stack import HOST, NODES, Fresh, Stack, ask, bgp_routes, check_nodes, up

pytestmark = pytest.mark.e2e


def test_a_dead_node_blocks_nothing(control_plane: Switched) -> None:
    HOST.run("lxc", "stop", "--force", "k3s3")
    left = [name for name in NODES if name != "k3s3"]
    stack.prepare("control-plane", left)
    touched = {step["urn"].rpartition("::")[2] for step in stack.preview_steps() if step["op"] not in ("same", "read")}
    assert not {name for name in touched if name.startswith(("k3s1", "k3s2"))}, "another node is touched"
    up()
    lab = Stack()
    check_nodes(lab, left)
    for address in lab.outputs["load_balancer_ips"].values():
        assert bgp_routes()[address] == {NODES[name] for name in left}
    ask(lab.fcdemo)


def test_destroy_leaves_the_host_as_it_was_but_for_packages(configmap: Fresh, control_plane: Switched) -> None:
    assert stack.operate("destroy", "--yes", "--skip-preview") == 0
    assert HOST.json("lxc", "list", "--all-projects", "--format", "json") == []
    links = {link["ifname"] for link in HOST.json("ip", "-json", "link")}
    assert links <= {"lo", "eth0", "ifb0", "ifb1"}, "links are left"
    assert HOST.run("ip", "-4", "route", "show", "proto", "bgp") == ""
    assert listening_on_the_host() <= configmap.listened, "something still listens"
    rules = HOST.run("sh", "-c", "nft list ruleset; ! command -v iptables-save >/dev/null || iptables-save")
    assert "cilium-bgp" not in rules, "rules are left"
    ours = HOST.run("find", "/etc", "/root", "/usr/local", "/var/lib", "-name", "*cilium-bgp*").split()
    assert not [path for path in ours if "cilium-bgp-lab" not in path], "files are left"


def test_taking_the_lab_down_leaves_nothing(control_plane: Switched, before: dict[str, Any]) -> None:
    assert stack.main("destroy") == 0
    stack.setup_lxd("start")
    for what, was in before["standing"].items():
        assert machine.standing()[what] == was, f"{what} are not as before"
    for what, was in before["passing"].items():
        assert machine.passing()[what] == was, f"{what} are not as before"
