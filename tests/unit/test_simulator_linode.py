"""The pretend Linode, through the engine's protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc

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


def test_an_account_may_want_other_interfaces_unless_it_is_told(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        create(stub, interfaceGeneration=None)
    assert caught.value.details() == "[400] [firewall_id] is of the interfaces, with interface_generation linode"


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

    stub.Delete(pb.DeleteRequest(urn=URN.replace(INSTANCE, FIREWALL), id=str(first)))
    device = other(stub, DEVICE, entityId=instance, firewallId=second)
    with pytest.raises(grpc.RpcError, match="one assigned firewall at a time"):
        other(stub, DEVICE, entityId=instance, firewallId=second)
    stub.Delete(pb.DeleteRequest(urn=URN.replace(INSTANCE, DEVICE), id=device.id))
    assert other(stub, DEVICE, entityId=instance, firewallId=second).id != device.id


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
