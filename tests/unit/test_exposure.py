"""How Services are reached from outside the host: four ways."""

import json
from typing import Any

import pytest

from tests.unit.graph import EXISTING, HOST_ADDRESS, NGROK_TOKEN, Secret, dev, plain, stack, values

FCDEMO, TRAEFIK = "default/fcdemo-service", "kube-system/traefik"
FORWARD = {
    "mode": "forward",
    "cidrs": ["198.51.100.0/24"],
    "forwards": [
        {"service": FCDEMO, "servicePort": 80, "hostPort": 8080},
        {"service": TRAEFIK, "servicePort": 443, "hostPort": 8443},
    ],
}


CLIENT = {"address": "192.168.1.50", "hostKey": EXISTING["hostKey"], "user": "me"}
BY_BGP: dict[str, Any] = {
    "bgp": {
        "upstreams": {
            "lan": {"address": "192.168.1.1", "asn": 65001},
            "far": {"address": "192.168.9.1", "asn": 65002, "multihop": 3, "announce": "pool"},
        }
    },
    "exposure": {"mode": "bgp", "cidrs": ["192.168.1.0/24", "2001:db8::/64"], "client": CLIENT},
}


def test_none_creates_nothing() -> None:
    assert dev().children("exposure") == {}
    assert dev().outputs_of("exposure")["urls"] == dev().outputs["urls"] == {}


@pytest.mark.parametrize("exposure", [{"mode": "none"}, {"mode": "ngrok"}, FORWARD])
def test_the_lines_to_type_are_there_whatever_the_mode(exposure: dict[str, object]) -> None:
    its = stack(values(exposure=exposure))
    assert its.outputs_of("exposure")["sshCommands"] == {
        TRAEFIK: f"ssh root@{HOST_ADDRESS} -N -L 8081:10.26.23.32:80",
        FCDEMO: f"ssh root@{HOST_ADDRESS} -N -L 8080:10.26.23.35:80",
    }
    assert its.outputs_of("exposure")["sshCommands"].items() <= its.outputs["ssh_commands"].items()
    tunnels = [line.split(":")[0] for line in its.outputs["ssh_commands"].values() if " -L " in line]
    assert len(set(tunnels)) == len(tunnels) == 4, "several at once"


def test_ngrok_shows_the_demo_and_keeps_its_token_secret() -> None:
    its = stack(values(exposure={"mode": "ngrok"}))
    assert set(its.children("exposure")) == {"exposure-ngrok", "exposure-ngrok-finalizer", "exposure-urls"}
    agent = its["exposure-ngrok"]
    assert (agent.ran().file, agent.ran().parameters) == ("ngrok.sh", ("10.26.23.35",))
    assert agent.inputs["stdin"] == Secret(NGROK_TOKEN)
    assert its["exposure-ngrok-finalizer"].ran("command").file == "ngrok_remove.sh"
    assert agent.deleted_with == its["host-key"].urn
    assert "proof-addresses" in its.before(agent), "that is where the address is from"
    assert its.outputs["urls"] == {FCDEMO: "https://shown.ngrok.example"}


def test_forward_gives_the_hosts_ports_to_services() -> None:
    its = stack(values(exposure=FORWARD))
    assert set(its.children("exposure")) == {"exposure-forward", "exposure-urls"}
    forward = its["exposure-forward"]
    assert forward.type == "pulumi-python:dynamic/lxd:Forward"
    asked = {key: value for key, value in forward.inputs.items() if key not in ("lxd", "owner", "__provider")}
    assert asked == {
        "network": "lxdbr0",
        "listen_address": HOST_ADDRESS,
        "ports": [
            {"protocol": "tcp", "listen_port": 8080, "target_address": "10.26.23.35", "target_port": 80},
            {"protocol": "tcp", "listen_port": 8443, "target_address": "10.26.23.32", "target_port": 443},
        ],
        "config": {},
    }
    assert isinstance(forward.inputs["lxd"], Secret)
    assert forward.deleted_with == its["host-key"].urn
    assert its.outputs["urls"] == {
        FCDEMO: f"http://{HOST_ADDRESS}:8080",
        TRAEFIK: f"https://{HOST_ADDRESS}:8443",
    }


@pytest.mark.parametrize(("exposure", "what"), [({"mode": "ngrok"}, "ngrok"), (FORWARD, "forward")])
def test_urls_are_fetched_from_the_host_before_they_are_claimed(exposure: dict[str, object], what: str) -> None:
    its = stack(values(exposure=exposure))
    fetched = its["exposure-urls"]
    limit, urls, *http = fetched.ran().parameters
    assert (fetched.ran().file, limit, http) == ("urls.py", "300", [FCDEMO])
    assert json.loads(urls) == its.outputs["urls"]
    assert fetched.ran().seconds > 300
    assert fetched.deleted_with == its["host-key"].urn
    assert {f"exposure-{what}", "proof-routes"} <= its.before(fetched)
    other = stack(values(exposure=exposure, fcdemo={"replicas": 2}))["exposure-urls"]
    assert fetched.inputs["stdin"] != other.inputs["stdin"], "fetched again when it is proven anew"


def test_by_bgp_the_addresses_themselves_are_asked_from_the_client() -> None:
    its = stack(values(**BY_BGP))
    assert set(its.children("exposure")) == {"exposure-urls"}
    fetched = its["exposure-urls"]
    urls = {service: f"http://{address}" for service, address in its.outputs["load_balancer_ips"].items()}
    assert (json.loads(fetched.ran().parameters[1]), its.outputs["urls"]) == (urls, urls)
    assert plain(fetched.inputs["connection"])["host"] == "192.168.1.50"
    assert fetched.ran().sudo, "its login user is not root"
    assert "proof-routes" in its.before(fetched)
    from_the_host = stack(values(**{**BY_BGP, "exposure": {**BY_BGP["exposure"], "client": None}}))
    assert plain(from_the_host["exposure-urls"].inputs["connection"])["host"] == HOST_ADDRESS


def test_by_bgp_the_proof_looks_at_what_upstreams_were_told() -> None:
    its = stack(values(**BY_BGP))
    told = json.loads(its["proof-routes"].ran().parameters[2])
    assert told == {"lan": ["192.168.1.1", ""], "far": ["192.168.9.1", "10.26.23.32/27"]}
    near = its["preflight-host"].ran().parameters[-4]
    assert near == "lan=192.168.1.1", "what has several hops need not be on a network of the host"


def test_by_bgp_a_linodes_firewall_lets_its_services_ports_in() -> None:
    rules = {rule["label"]: rule for rule in stack(values(**BY_BGP))["host-firewall"].inputs["inbounds"]}
    assert {rule["ports"] for rule in rules.values()} == {"22", "6443", "80", "443"}


def test_on_a_machine_you_have_the_forward_is_deleted_with_nothing() -> None:
    its = stack(values(host=EXISTING, exposure={**FORWARD, "cidrs": []}))
    assert its["exposure-forward"].inputs["listen_address"] == EXISTING["address"]
    other = stack(values(host=EXISTING, exposure={**FORWARD, "cidrs": [], "listenAddress": "192.0.2.99"}))
    assert other["exposure-forward"].inputs["listen_address"] == "192.0.2.99"
    assert other.outputs["urls"][FCDEMO] == "http://192.0.2.99:8080"
    assert its["exposure-forward"].deleted_with == ""
