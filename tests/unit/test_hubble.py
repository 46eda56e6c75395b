"""Where Hubble is seen."""

import pytest

from tests.unit.graph import HOST_ADDRESS, dev, stack, values

RELAY, UI = "kube-system/hubble-relay", "kube-system/hubble-ui"


def test_it_asks_for_the_addresses_once_relay_and_ui_run() -> None:
    addresses = dev()["hubble-addresses"]
    ran = addresses.ran()
    assert (ran.file, ran.parameters) == ("load_balancer_ips.py", ("300", "10.26.23.32/27", RELAY, UI))
    assert ran.seconds > 300
    assert ran.on_server
    assert "cilium-ready" in dev().before(addresses)
    assert addresses.deleted_with == dev()["k3s-identity"].urn


def test_the_lines_bring_both_to_the_ports_that_their_tools_expect() -> None:
    relay, ui = "10.26.23.32", "10.26.23.33"
    lines = {
        RELAY: f"ssh root@{HOST_ADDRESS} -N -L 4245:{relay}:80",
        UI: f"ssh root@{HOST_ADDRESS} -N -L 12000:{ui}:80",
    }
    assert dev().outputs_of("hubble") == {"addresses": {RELAY: relay, UI: ui}, "sshCommands": lines}
    assert lines.items() <= dev().outputs["ssh_commands"].items()


@pytest.mark.parametrize(
    ("hubble", "services"),
    [
        ({"ui": False}, (RELAY,)),
        ({"serviceType": "ClusterIP"}, ()),
        ({"enabled": False, "relay": False, "ui": False}, ()),
    ],
)
def test_it_asks_only_for_what_is_a_load_balancer(hubble: dict[str, object], services: tuple[str, ...]) -> None:
    its = stack(values(hubble=hubble))
    asked = [resource.ran().parameters[2:] for resource in its.children("hubble").values()]
    assert asked == ([services] if services else [])
    assert tuple(its.outputs_of("hubble")["sshCommands"]) == services
