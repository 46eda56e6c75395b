"""The host as a Linode VM, and the article's values for it."""

from typing import Any

import pulumi
import pytest

from components.first_seen import FirstSeenProvider
from components.linode_host import other_interfaces, public_address, unknown_namesake
from settings.keys import public_key
from tests.unit import graph
from tests.unit.graph import DEV, HOST_ADDRESS, HOST_KEY, SSH_KEY, Secret, dev, plain, stack, values


def test_the_vm_is_the_articles() -> None:
    instance = dev()["host-instance"]
    assert instance.type == "linode:index/instance:Instance"
    assert instance.inputs == {
        "label": "lxdserver",
        "region": "eu-central",
        "type": "g7-highmem-1",
        "image": "linode/ubuntu22.04",
        "authorizedKeys": [public_key(SSH_KEY)],
        "firewallId": 4711,
        "interfaceGeneration": "legacy_config",
        "booted": True,
        "backupsEnabled": False,
        "privateIp": False,
    }
    assert instance.delete_before_replace, "labels are unique in an account"
    assert not instance.protect
    kept = {"authorizedKeys", "authorizedUsers", "firewallId", "interfaceGeneration", "linodeInterfaces"}
    assert set(instance.ignore_changes) == kept, "not worth another VM"


def test_linode_users_and_protection_are_configured() -> None:
    instance = stack(values(host=DEV["host"] | {"authorizedUsers": ["alice"]}, protect=True))["host-instance"]
    assert instance.inputs["authorizedUsers"] == ["alice"]
    assert instance.protect


def test_the_firewall_drops_all_but_ssh_and_the_api_from_the_administrators() -> None:
    firewall = dev()["host-firewall"]
    administrators = {"protocol": "TCP", "action": "ACCEPT", "ipv4s": ["203.0.113.0/28"], "ipv6s": ["2001:db8::/64"]}
    assert firewall.inputs == {
        "label": "lxdserver",
        "inboundPolicy": "DROP",
        "outboundPolicy": "ACCEPT",
        "inbounds": [
            {"label": "ssh", "ports": "22", **administrators},
            {"label": "kubernetes-api", "ports": "6443", **administrators},
        ],
    }
    assert firewall.delete_before_replace


def test_a_family_without_networks_is_left_out_of_a_rule() -> None:
    its = stack(values(host=DEV["host"] | {"adminCidrs": ["203.0.113.7/32"]}, k3s={"apiPort": 8443}))
    rules = its["host-firewall"].inputs["inbounds"]
    assert [(rule["ports"], rule["ipv4s"], rule.get("ipv6s")) for rule in rules] == [
        ("22", ["203.0.113.7/32"], None),
        ("8443", ["203.0.113.7/32"], None),
    ]


def test_forwarded_ports_are_open_to_their_own_networks_only() -> None:
    forwards = [
        {"service": "default/fcdemo-service", "servicePort": 80, "hostPort": 8080},
        {"service": "kube-system/traefik", "servicePort": 443, "hostPort": 8443},
    ]
    its = stack(values(exposure={"mode": "forward", "cidrs": ["198.51.100.0/24"], "forwards": forwards}))
    opened = {"protocol": "TCP", "action": "ACCEPT", "ipv4s": ["198.51.100.0/24"]}
    rules = its["host-firewall"].inputs["inbounds"]
    assert [rule["label"] for rule in rules[:2]] == ["ssh", "kubernetes-api"]
    assert rules[2:] == [
        {"label": "forward-8080", "ports": "8080", **opened},
        {"label": "forward-8443", "ports": "8443", **opened},
    ]


def test_the_vm_is_never_without_its_firewall() -> None:
    assert "host-firewall" in dev().before(dev()["host-instance"])
    assert dev()["host-instance"].property_dependencies["firewallId"] == {dev()["host-firewall"].urn}


def test_a_vm_with_linode_interfaces_has_its_firewall_there() -> None:
    instance = stack(values(host=DEV["host"] | {"interfaces": "linode"}))["host-instance"]
    assert instance.inputs["interfaceGeneration"] == "linode"
    assert instance.inputs["linodeInterfaces"] == [
        {
            "firewallId": 4711,
            "public": {"ipv4": {"addresses": [{"address": "auto", "primary": True}]}},
            "defaultRoute": {"ipv4": True},
        }
    ]
    assert "firewallId" not in instance.inputs, "Linode refuses it there"


def device(kind: str = "linode", entity: int = 4711, id_: int = 4700, url: str = "") -> dict[str, Any]:
    url = f"/v4/linode/instances/4711{url}"
    return {"id": id_, "type": kind, "entityId": entity, "label": "", "url": url}


INTERFACE = device("linode_interface", 99, url="/interfaces/99")


@pytest.mark.parametrize(
    ("first", "behind", "made"),
    [
        (["4700 linode 4711"], [device()], None),
        (["4700 linode 4711"], [device(id_=9)], {"entityId": 4711}),  # the one that this stack has made
        (["4700 linode 4711"], [], {"entityId": 4711}),
        ([], [], {"entityId": 4711}),
        ([], [device(id_=9)], {"entityId": 4711}),
        (["4700 linode 4711"], [device() | {"url": "/v4/linode/instances/47110"}], {"entityId": 4711}),
        (["4700 linode_interface 99"], [INTERFACE], None),
        (["4700 linode_interface 99"], [], {"entityId": 99, "entityType": "linode_interface"}),
    ],
)
def test_a_vm_that_is_there_is_put_behind_its_firewall_again(
    monkeypatch: pytest.MonkeyPatch, first: list[str], behind: list[Any], made: dict[str, Any] | None
) -> None:
    """`first` is what was seen when it was made, or empty where it was made behind a firewall that is gone."""
    seen = {"host-firewall-first": {"seen": first}}
    monkeypatch.setattr(graph, "answer", lambda its, known=graph.answer: known(its) | seen.get(its.name, {}))
    monkeypatch.setattr(graph, "asked", lambda _: {"firewalls": [{"devices": behind}]})
    its = graph.registered(graph.program(DEV))
    assert ("host-firewall-device" in {one.name for one in its}) is (made is not None)
    if made:
        device = its["host-firewall-device"]
        assert device.type == "linode:index/firewallDevice:FirewallDevice"
        assert device.inputs == {"firewallId": 4711, **made}
        assert device.deleted_with == its["host-instance"].urn
    assert "host-firewall-device" not in {one.name for one in stack(DEV, preview=True)}


@pytest.mark.parametrize(
    ("made_behind", "seen"),
    [({}, ["4700 linode 4711"]), ({"firewallId": 4600}, []), ({"firewallId": None}, ["4700 linode 4711"])],
    ids=["this firewall", "another", "at an interface"],
)
def test_what_a_vm_was_made_with_is_kept(
    monkeypatch: pytest.MonkeyPatch, made_behind: dict[str, int], seen: list[str]
) -> None:
    answers = {"host-instance": made_behind}
    monkeypatch.setattr(graph, "answer", lambda its, known=graph.answer: known(its) | answers.get(its.name, {}))
    first = graph.registered(graph.program(DEV))["host-firewall-first"]
    assert {key: first.inputs[key] for key in ("machine", "seen")} == {"machine": "4711", "seen": seen}
    provider = FirstSeenProvider()
    its = provider.create(first.inputs).outs or {}
    assert its["seen"] == seen
    assert not provider.diff("4711", its, {**its, "seen": ["another"]}).changes
    assert provider.diff("4711", its, {**its, "machine": "4712"}).replaces == ["machine"]


def test_a_firewall_that_is_gone_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "asked", lambda _: {"firewalls": []})
    with pytest.raises(pulumi.RunError, match=r"firewall 4711 of the Linode 4711 is gone; .*: pulumi up --refresh"):
        graph.registered(graph.program(DEV))


@pytest.mark.parametrize(
    ("configured", "error", "said"),
    [
        ("legacy_config", "[400] [interface_generation] refused", "Write host.interfaces: linode."),
        ("linode", "[400] [interface_generation] refused", "Write host.interfaces: legacy_config."),
        ("linode", "[400] [label] Label must be unique", ""),
    ],
)
def test_an_account_that_wants_other_interfaces_is_told_the_key(configured: str, error: str, said: str) -> None:
    advice = other_interfaces(configured, ["create failed", error])
    assert advice.endswith(said)
    assert bool(advice) is bool(said)


@pytest.mark.parametrize(
    ("addresses", "dialled"),
    [
        (["192.168.128.7", "198.51.100.7"], "198.51.100.7"),
        (["198.51.100.77", "198.51.100.8"], "198.51.100.8"),
        (["10.0.0.2"], "10.0.0.2"),
    ],
)
def test_the_public_address_is_dialled_whatever_comes_first(addresses: list[str], dialled: str) -> None:
    assert public_address(addresses) == dialled


def test_the_host_key_is_learned_of_this_machine_and_pinned() -> None:
    key = dev()["host-key"]
    assert key.type == "pulumi-python:dynamic/cilium-bgp:HostKey"
    asked = {name: its for name, its in key.inputs.items() if name != "__provider"}
    assert asked == {"machine": "4711", "host": HOST_ADDRESS, "port": 22, "seconds": 300}
    assert dev().dies_with(key) == {"host-instance"}
    on_host = [its for its in dev() if "connection" in its.inputs and its.parent == dev()["lxd"].urn]
    assert on_host
    for its in on_host:
        assert its.inputs["connection"] == Secret(
            {
                "host": HOST_ADDRESS,
                "port": 22,
                "user": "root",
                "privateKey": SSH_KEY,
                "hostKey": HOST_KEY,
                "dialErrorLimit": 8,
                "perDialTimeout": 15,
            }
        )


def test_it_gives_the_public_address_and_the_line_that_logs_in() -> None:
    assert dev().outputs_of("host") == {"address": HOST_ADDRESS}
    assert dev().outputs["host_address"] == HOST_ADDRESS
    assert plain(dev().outputs["ssh_commands"])["host"] == f"ssh root@{HOST_ADDRESS}"


def test_a_long_label_is_cut_to_what_a_firewall_may_have_and_stays_its_vms() -> None:
    def labels(of: str) -> tuple[str, str]:
        its = stack(values(host=DEV["host"] | {"label": of}))
        return its["host-instance"].inputs["label"], its["host-firewall"].inputs["label"]

    assert labels("a" * 32) == ("a" * 32, "a" * 32)
    long = [f"lxdserver-of-the-lab-.-in-{place}" for place in ("parma-1", "parma-2")]
    found = [labels(label) for label in long]
    assert [vm for vm, _ in found] == long
    firewalls = [firewall for _, firewall in found]
    assert [firewall[:-8] for firewall in firewalls] == ["lxdserver-of-the-lab-", "lxdserver-of-the-lab-"]
    assert len(set(firewalls)) == 2, "each firewall's label tells its VM's"


@pytest.mark.parametrize("kind", ["linodes", "firewalls"])
def test_what_a_run_that_was_cut_off_has_left_at_linode_is_told_with_what_to_do(kind: str) -> None:
    advice = unknown_namesake(
        kind, "lxdserver", ["create failed", "[400] [label] Label must be unique among your Linodes"]
    )
    assert advice.startswith(f"host.label: Linode has lxdserver among its {kind} already")
    assert f"linode-cli {kind} delete ID" in advice
    assert unknown_namesake(kind, "lxdserver", ["[400] [image] image is not valid"]) == ""
