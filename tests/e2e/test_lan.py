"""The router of the host's LAN is told of the addresses, and a client there asks them: `exposure.mode: bgp`."""

from collections.abc import Iterator

import pytest

from lab import lan, stack, store
from tests.e2e.conftest import Switched
from tests.e2e.stack import FCDEMO, HOST, NODES, Stack, ask, bgp_routes, on_node, sessions, unchanged, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def on_the_lan(control_plane: Switched) -> Iterator[Stack]:
    assert stack.main("up", "control-plane", "fresh", "lan") == 0
    yield Stack()
    assert stack.main("up", "control-plane") == 0
    addresses = set(control_plane.outputs["load_balancer_ips"].values())
    assert not addresses & set(bgp_routes(lan.ROUTER)), "it is told nothing any more"
    assert lan.ROUTER.address not in sessions()
    with pytest.raises(store.BuildError):
        ask(control_plane.fcdemo, by=lan.CLIENT)
    HOST.run("ip", "route", "delete", lan.NETWORK)
    lan.remove()


def test_the_router_learns_the_addresses_by_the_host_and_nothing_else(on_the_lan: Stack) -> None:
    addresses = set(on_the_lan.outputs["load_balancer_ips"].values())
    assert bgp_routes(lan.ROUTER) == {address: {HOST.address} for address in addresses}
    told = on_the_lan.outputs["bgp"]["upstreams"]["lan"]
    assert (told["state"], set(told["told"])) == ("Established", {f"{address}/32" for address in addresses})


def test_a_client_on_the_lan_is_answered_at_the_addresses_themselves(on_the_lan: Stack) -> None:
    urls = on_the_lan.outputs["urls"]
    assert urls == {name: f"http://{at}" for name, at in on_the_lan.outputs["load_balancer_ips"].items()}
    answers = {ask(on_the_lan.outputs["load_balancer_ips"][FCDEMO], by=lan.CLIENT) for _ in range(40)}
    assert len(answers) > 1, "of several pods"


def test_nothing_else_of_the_cluster_is_open_to_it(on_the_lan: Stack) -> None:
    lan.ROUTER.run("ip", "route", "replace", "10.26.23.0/24", "via", HOST.address)
    for address in NODES.values():
        with pytest.raises(store.BuildError):
            lan.CLIENT.run("timeout", "2", "bash", "-c", f": </dev/tcp/{address}/10250")
    with pytest.raises(store.BuildError, match="refused"):
        lan.ROUTER.run("timeout", "2", "bash", "-c", f": </dev/tcp/{HOST.address}/179")


def test_what_the_router_tells_is_refused(on_the_lan: Stack) -> None:
    sent = lan.ROUTER.json("vtysh", "-c", f"show bgp ipv4 unicast neighbors {HOST.address} advertised-routes json")
    assert {"0.0.0.0/0", lan.FOREIGN} <= {sent.get("bgpOriginatingDefaultNetwork"), *sent["advertisedRoutes"]}
    assert not {"default", lan.FOREIGN} & set(bgp_routes())


def test_a_service_of_anybodys_is_told_and_taken_back(on_the_lan: Stack) -> None:
    kubectl = ("k3s1", "k3s", "kubectl")
    before = set(bgp_routes(lan.ROUTER))
    on_node(*kubectl, "expose", "deployment/fcdemo3", "--name=theirs", "--type=LoadBalancer", "--port=80")
    until(30, "a route to it", lambda: set(bgp_routes(lan.ROUTER)) > before)
    (address,) = set(bgp_routes(lan.ROUTER)) - before
    assert [address] == on_the_lan.services()["default/theirs"]
    on_node(*kubectl, "delete", "service", "theirs")
    until(30, "its route to go", lambda: set(bgp_routes(lan.ROUTER)) == before)


def test_after_it_nothing_changes(on_the_lan: Stack) -> None:
    unchanged()
