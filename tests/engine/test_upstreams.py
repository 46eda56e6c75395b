"""Routers beyond the host: told, proven, looked at and forgotten, and their passwords never shown.

The tests are one story on one stack and run in order.
"""

import json
from typing import Any

import pytest

from scripts.demo import STACK
from status.__main__ import main
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

LAN = {"address": "198.51.100.1", "asn": 65001}
PASSWORD = "canary-lan-55ba"


def test_the_pool_is_told_and_services_are_shown_at_their_own_addresses(stack: World) -> None:
    stack.up()
    stack.setting("bgp")["upstreams"] = {"lan": LAN}
    stack.setting("exposure").update(mode="bgp", cidrs=["203.0.113.0/24"])
    stack.secret("upstreamPasswords", json.dumps({"lan": PASSWORD}))
    stack.canaries.add(PASSWORD)
    done = stack.as_foreseen()
    assert {done.operations[name] for name in ("router-frr", "firewall-rules", "proof-routes")} == {"update"}
    assert not {"replace", "delete"} & set(done.operations.values())
    addresses = stack.outputs()["load_balancer_ips"]
    told = sorted(f"{address}/32" for address in addresses.values())
    assert stack.outputs()["bgp"]["upstreams"] == {
        "lan": {"address": LAN["address"], "state": "Established", "told": told}
    }
    assert stack.outputs()["urls"] == {service: f"http://{address}" for service, address in addresses.items()}
    stack.unchanged()


def test_an_upstream_that_is_off_fails_the_proof_and_is_named_by_status(
    stack: World, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.setting("proof")["timeoutSeconds"] = 3
    with stack.fault(hang=[f"upstream/{LAN['address']}"]):
        stack.fails(r"upstream lan \(198.51.100.1\): BGP session is Connect; look at `vtysh -c 'show bgp neighbors")
        assert main([STACK, "--json"]) == 1
    layers: dict[str, Any] = {its["name"]: its for its in json.loads(capsys.readouterr().out)["layers"]}
    (finding,) = layers["BGP"]["findings"]
    assert finding["what"] == "upstream lan (198.51.100.1): its BGP session is Connect"
    stack.up()
    assert main([STACK]) == 0
    assert "upstream lan has a session and is told 4 prefixes" in capsys.readouterr().out


def test_it_can_be_told_the_pool_as_one_prefix(stack: World) -> None:
    stack.setting("bgp")["upstreams"]["lan"] = {**LAN, "announce": "pool"}
    stack.as_foreseen()
    assert stack.outputs()["bgp"]["upstreams"]["lan"]["told"] == ["10.26.23.32/27"]


def test_without_it_everything_is_as_before(stack: World) -> None:
    del stack.setting("bgp")["upstreams"]
    stack.setting("exposure").update(mode="none", cidrs=[])
    stack.fails("upstreamPasswords.lan: lan is no upstream")
    stack.secret("upstreamPasswords", "{}")
    stack.canaries.remove("{}")
    done = stack.as_foreseen()
    assert [name for name, operation in done.operations.items() if operation == "delete"] == ["exposure-urls"]
    assert stack.outputs()["urls"] == stack.outputs()["bgp"]["upstreams"] == {}
    stack.destroyed()
