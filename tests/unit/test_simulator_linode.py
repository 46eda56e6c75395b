"""The pretend Linode, through the engine's protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc

from simulator.linode import FIREWALL, INSTANCE, Linode
from standin.serve import UNKNOWN, decode_properties, encode_properties, serve

URN = f"urn:pulumi:dev::p::{INSTANCE}::host"
INPUTS = {"label": "lxdserver", "region": "eu-central", "type": "g7-highmem-1", "image": "linode/ubuntu22.04"}


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
    ("changed", "replaced"), [({"image": "linode/debian12"}, True), ({"type": "g6-nanode-1"}, False)]
)
def test_only_another_image_needs_another_machine(
    stub: provider_pb2_grpc.ResourceProviderStub, changed: dict[str, str], replaced: bool
) -> None:
    olds, news = encode_properties(INPUTS), encode_properties({**INPUTS, **changed})
    diff = stub.Diff(pb.DiffRequest(urn=URN, type=INSTANCE, olds=olds, old_inputs=olds, news=news))
    assert bool(diff.replaces) is replaced
    assert diff.changes == pb.DiffResponse.DIFF_SOME


def test_firewalls_are_known_and_nothing_else(stub: provider_pb2_grpc.ResourceProviderStub) -> None:
    firewall = pb.CreateRequest(urn=URN.replace(INSTANCE, FIREWALL), properties=encode_properties({"label": "f"}))
    assert decode_properties(stub.Create(firewall).properties)["status"] == "enabled"
    with pytest.raises(grpc.RpcError, match="domain"):
        stub.Create(pb.CreateRequest(urn=URN.replace(INSTANCE, "linode:index/domain:Domain")))
