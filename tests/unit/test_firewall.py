"""The host's firewall: what it is told, and that nothing comes before it."""

from tests.unit.graph import dev, stack, values
from tests.unit.test_exposure import BY_BGP

NODES = ("10.26.23.11", "10.26.23.12", "10.26.23.13")


def test_it_knows_the_bridge_the_routers_address_the_apis_port_and_every_node() -> None:
    rules = dev()["firewall-rules"]
    assert rules.ran().file == "firewall.sh"
    assert rules.ran().parameters == ("lxdbr0", "10.26.23.1", "6443", "", "", *NODES)
    assert dev()["firewall-rules-finalizer"].ran("command").file == "firewall_remove.sh"
    assert dev().dies_with(rules) == {"host-instance", "host-key"}


def test_no_bridge_without_it() -> None:
    its = stack(values(lxd={"bridge": {"name": "br7", "address": "10.26.23.1/24"}}))
    assert its["firewall-rules"].ran().parameters[0] == "br7"
    assert "firewall-rules" in its.before(its["topology-bridge"])


def test_by_bgp_the_pool_is_open_to_the_networks_that_are_said() -> None:
    assert stack(values(**BY_BGP))["firewall-rules"].ran().parameters[3:5] == ("10.26.23.32/27", "192.168.1.0/24")


def test_a_network_within_another_is_said_once() -> None:
    exposure = {**BY_BGP["exposure"], "cidrs": ["192.168.1.0/24", "192.168.0.0/16", "203.0.113.7/32"]}
    rules = stack(values(**{**BY_BGP, "exposure": exposure}))["firewall-rules"]
    assert rules.ran().parameters[4] == "192.168.0.0/16,203.0.113.7/32"


def test_it_says_who_may_speak_bgp() -> None:
    assert dev().outputs_of("firewall") == {"rules": "lxdbr0: BGP from 10.26.23.11, 10.26.23.12, 10.26.23.13"}
