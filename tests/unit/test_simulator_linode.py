"""The pretend Linode, through the engine's protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc

from simulator import memory
from simulator.linode import DEVICE, FIREWALL, INSTANCE, Linode
from standin.serve import UNKNOWN, decode_properties, encode_properties, serve

URN = f"urn:pulumi:dev::p::{INSTANCE}::host"
INPUTS = {"label": "lxdserver", "region": "eu-central", "type": "g7-highmem-1", "image": "linode/ubuntu22.04"}
INPUTS |= {"interfaceGeneration": "legacy_config"}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[provider_pb2_grpc.ResourceProviderStub]:
    monkeypatch.setenv("SIMULATOR_STATE", str(tmp_path))
    monkeypatch.setenv("SIMULATOR_HOST", "127.0.0.9")
    port, stop = serve(Linode)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    stop()


def create(stub: provider_pb2_grpc.ResourceProviderStub, preview: bool = False, **changed: Any) -> Any:
    properties = encode_properties({**INPUTS, **changed})
    return stub.Create(pb.CreateRequest(urn=URN, type=INSTANCE, properties=properties, preview=preview))


def test_an_instance_has_the_address_of_the_pretend_host(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    made = create(stub)
    assert made.id.isdigit()
    outputs = decode_properties(made.properties)
    assert (outputs["ipv4s"], outputs["status"], outputs["label"]) == (["127.0.0.9"], "running", "lxdserver")


def test_a_preview_makes_nothing_and_knows_no_address(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    assert decode_properties(create(stub, preview=True).properties)["ipv4s"] is UNKNOWN
    create(stub)


INTERFACES: dict[str, Any] = {"interfaceGeneration": "linode", "linodeInterfaces": [{"public": {}}], "booted": True}
AT_THE_LINODE = "[400] Linode is using Linode Interfaces. Please apply Cloud Firewall to the interfaces of the Linode"


@pytest.mark.parametrize(
    ("account", "asked", "refused"),
    [
        ("linode_default_but_legacy_config_allowed", {"interfaceGeneration": None, "firewallId": 1}, AT_THE_LINODE),
        ("legacy_config_default_but_linode_allowed", {"interfaceGeneration": None}, ""),
        ("legacy_config_default_but_linode_allowed", INTERFACES, ""),
        ("linode_only", INTERFACES, ""),
        ("linode_only", {}, "[400] [interface_generation] legacy_config interfaces: the account is linode_only"),
        ("legacy_config_only", INTERFACES, "[400] [interface_generation] linode interfaces: the account is legacy_"),
        ("linode_only", INTERFACES | {"linodeInterfaces": []}, "[400] The Linode must have at least 1 interface def"),
        ("linode_only", INTERFACES | {"linodeInterfaces": [{"firewallId": 1}]}, "[400] [firewall_id] Not found"),
        ("linode_only", INTERFACES | {"firewallId": 1}, AT_THE_LINODE),
        ("legacy_config_only", {"linodeInterfaces": [{}]}, "[400] [interfaces] are of the generation linode"),
    ],
)
def test_interfaces_are_of_a_generation_and_the_account_may_allow_one_alone(
    stub: provider_pb2_grpc.ResourceProviderStub, account: str, asked: dict[str, Any], refused: str
) -> None:
    with memory.opened("linode") as state:
        state["account"] = account
    if not refused:
        assert create(stub, **asked).id
        return
    with pytest.raises(grpc.RpcError) as caught:
        create(stub, **asked)
    assert str(caught.value.details()).startswith(refused)


def test_labels_are_unique(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    create(stub)
    with pytest.raises(grpc.RpcError) as caught:
        create(stub)
    assert caught.value.details() == "[400] [label] Label must be unique: lxdserver exists already"


def test_a_deleted_instance_is_gone_at_refresh(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    made = create(stub)
    request = pb.ReadRequest(urn=URN, id=made.id, properties=made.properties, inputs=made.properties)
    assert stub.Read(request).id == made.id
    stub.Delete(pb.DeleteRequest(urn=URN, id=made.id, properties=made.properties))
    assert stub.Read(request).id == ""


@pytest.mark.parametrize(
    ("changed", "replaced"),
    [
        ({"image": "linode/debian12"}, True),
        ({"authorizedKeys": ["ssh-ed25519 AAAA"]}, True),
        ({"firewallId": 4711}, True),
        ({"type": "g6-nanode-1"}, False),
        ({"region": "us-east"}, False),
    ],
)
def test_what_needs_another_machine(
    stub: provider_pb2_grpc.ResourceProviderStub, changed: dict[str, Any], replaced: bool
) -> None:
    olds, news = encode_properties(INPUTS), encode_properties({**INPUTS, **changed})
    diff = stub.Diff(pb.DiffRequest(urn=URN, type=INSTANCE, olds=olds, old_inputs=olds, news=news))
    assert bool(diff.replaces) is replaced
    assert diff.changes == pb.DiffResponse.DIFF_SOME


def other(stub: provider_pb2_grpc.ResourceProviderStub, kind: str, **inputs: Any) -> Any:
    return stub.Create(pb.CreateRequest(urn=URN.replace(INSTANCE, kind), properties=encode_properties(inputs)))


def test_firewalls_are_known_and_nothing_else(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    assert decode_properties(other(stub, FIREWALL, label="one").properties)["status"] == "enabled"
    unknown = URN.replace(INSTANCE, "linode:index/domain:Domain")
    with pytest.raises(grpc.RpcError, match="domain"):
        stub.Check(pb.CheckRequest(urn=unknown, news=encode_properties({})))


def test_an_instance_has_one_firewall_at_a_time_and_that_there_is(
    stub: provider_pb2_grpc.ResourceProviderStub,
) -> None:
    first, second = (int(other(stub, FIREWALL, label=label).id) for label in ("one", "two"))
    with pytest.raises(grpc.RpcError, match="Not found"):
        create(stub, firewallId=1)
    instance = int(create(stub, firewallId=first).id)
    for firewall in (first, second):
        with pytest.raises(grpc.RpcError, match="one assigned firewall at a time"):
            other(stub, DEVICE, entityId=instance, firewallId=firewall)
    with pytest.raises(grpc.RpcError, match="Not found"):
        other(stub, DEVICE, entityId=first, firewallId=second)

    assert [one["entityId"] for one in devices(stub, first)] == [instance]
    stub.Delete(pb.DeleteRequest(urn=URN.replace(INSTANCE, FIREWALL), id=str(first)))
    assert devices(stub, first) is None
    assert devices(stub, second) == []
    device = other(stub, DEVICE, entityId=instance, firewallId=second)
    with pytest.raises(grpc.RpcError, match="one assigned firewall at a time"):
        other(stub, DEVICE, entityId=instance, firewallId=second)
    stub.Delete(pb.DeleteRequest(urn=URN.replace(INSTANCE, DEVICE), id=device.id))
    assert other(stub, DEVICE, entityId=instance, firewallId=second).id != device.id


def devices(stub: provider_pb2_grpc.ResourceProviderStub, firewall: int) -> Any:
    """What is behind it; None where there is no such firewall."""
    asked = encode_properties({"filters": [{"name": "id", "values": [str(firewall)]}]})
    answer = stub.Invoke(pb.InvokeRequest(tok="linode:index/getFirewalls:getFirewalls", args=asked))
    found = decode_properties(getattr(answer, "return"))["firewalls"]
    return found[0]["devices"] if found else None


def test_a_firewall_is_at_the_interface_of_a_linode_that_has_such(
    stub: provider_pb2_grpc.ResourceProviderStub,
) -> None:
    firewall = int(other(stub, FIREWALL, label="one").id)
    interfaces: dict[str, Any] = {"linodeInterfaces": [{"firewallId": firewall, "public": {}}]}
    instance = create(stub, **INTERFACES | interfaces).id
    (device,) = devices(stub, firewall)
    assert device["type"] == "linode_interface"
    assert device["url"] == f"/v4/linode/instances/{instance}/interfaces/{device['entityId']}"
    with pytest.raises(grpc.RpcError, match="Please apply Cloud Firewall to the interfaces of the Linode"):
        other(stub, DEVICE, entityId=int(instance), firewallId=firewall)
    there = {"entityId": device["entityId"], "entityType": "linode_interface", "firewallId": firewall}
    with pytest.raises(grpc.RpcError, match="one assigned firewall at a time"):
        other(stub, DEVICE, **there)
    stub.Delete(pb.DeleteRequest(urn=URN.replace(INSTANCE, DEVICE), id=str(device["id"])))
    assert devices(stub, firewall) == []
    assert other(stub, DEVICE, **there).id
    stub.Delete(pb.DeleteRequest(urn=URN, id=instance))
    assert devices(stub, firewall) == []


def test_rules_that_somebody_has_changed_are_seen(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    made = other(stub, FIREWALL, label="one", inbounds=[{"label": "ssh"}])
    with memory.opened("linode") as state:
        state["made"][made.id]["inbounds"] = []
    its = {"urn": URN.replace(INSTANCE, FIREWALL), "id": made.id}
    read = stub.Read(pb.ReadRequest(**its, properties=made.properties, inputs=made.properties))
    assert decode_properties(read.inputs)["inbounds"] == []


@pytest.mark.parametrize(
    ("kind", "inputs", "property_"),
    [
        (INSTANCE, {"label": "l" * 51}, "label"),
        (FIREWALL, {"label": "l" * 33}, "label"),
        (FIREWALL, {"label": "one", "inbounds": [{"label": "ssh"}] * 26}, "inbounds"),
        (FIREWALL, {"label": "one", "inbounds": [{"ipv4s": ["192.0.2.1/32"] * 256}]}, "inbounds"),
    ],
)
def test_what_the_provider_refuses(
    stub: provider_pb2_grpc.ResourceProviderStub, kind: str, inputs: dict[str, Any], property_: str
) -> None:
    checked = stub.Check(pb.CheckRequest(urn=URN.replace(INSTANCE, kind), news=encode_properties(inputs)))
    assert [failure.property for failure in checked.failures] == [property_]
