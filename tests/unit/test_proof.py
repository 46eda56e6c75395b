"""The check that it really works, as a part of the graph; the scripts themselves are tested in tests/scripts."""

import json

from tests.unit.graph import answer, dev, stack, values

SERVICES = ("kube-system/traefik", "kube-system/hubble-relay", "kube-system/hubble-ui", "default/fcdemo-service")


def test_every_load_balancer_must_have_an_address() -> None:
    addresses = dev()["proof-addresses"]
    ran = addresses.ran()
    assert (ran.file, ran.parameters) == ("load_balancer_ips.py", ("300", "10.26.23.32/27", *SERVICES))
    assert ran.seconds > 300
    assert addresses.deleted_with == dev()["k3s1"].urn


def test_the_host_must_have_a_session_a_route_and_an_answer() -> None:
    routes = dev()["proof-routes"]
    ran = routes.ran()
    seconds, nodes, addresses, *http = ran.parameters
    assert (ran.file, seconds, http) == ("proof.py", "300", ["default/fcdemo-service"])
    assert ran.seconds > 300
    assert json.loads(nodes) == {"k3s1": "10.26.23.11", "k3s2": "10.26.23.12", "k3s3": "10.26.23.13"}
    assert json.loads(addresses) == {name: f"10.26.23.{32 + place}" for place, name in enumerate(SERVICES)}
    assert routes.deleted_with == dev()["host-instance"].urn


def test_it_comes_last() -> None:
    before = dev().before(dev()["proof-routes"])
    assert {"proof-addresses", "cilium-ready", "router-frr", "fcdemo-service", "k3s2-joined", "k3s3-joined"} <= before


def test_it_is_proven_anew_when_the_release_a_nodes_machine_or_the_demos_address_changes() -> None:
    machines = [answer(dev()[node])["mac_address"] for node in ("k3s1", "k3s2", "k3s3")]
    for name in ("proof-addresses", "proof-routes"):
        its = dev()[name]
        assert "triggers" not in its.inputs, "a trigger would replace it"
        assert its.inputs["stdin"].splitlines() == [
            dev().outputs_of("cilium")["ready"],
            *machines,
            "10.26.23.35",
        ]
    quick = stack(values(proof={"timeoutSeconds": 7}))
    assert [quick[name].ran().parameters[0] for name in ("proof-addresses", "proof-routes")] == ["7", "7"]


def test_outputs() -> None:
    addresses = {name: f"10.26.23.{32 + place}" for place, name in enumerate(SERVICES)}
    report = {
        "sessions": {name: {"state": "Established", "prefixes": 1} for name in ("k3s1", "k3s2", "k3s3")},
        "routes": {address: ["10.26.23.11"] for address in addresses.values()},
        "http": {"default/fcdemo-service": 200},
    }
    assert dev().outputs_of("proof") == {"loadBalancerIps": addresses, "report": report}
    assert (dev().outputs["load_balancer_ips"], dev().outputs["bgp"]) == (addresses, report)
