"""The kubernetes provider's rules and the pretend cluster, through the engine's protocol."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc

from simulator import cluster
from simulator.kubernetes import PretendKubernetes
from standin.serve import UNKNOWN, Secret, decode_properties, encode_properties, serve

RELEASE = "helm.sh/v3:Release"
POOL = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "bgp-config", "namespace": "kube-system"},
    "data": {"config.yaml": "address-pools: [{name: default, protocol: bgp, addresses: [10.26.23.32/30]}]"},
}
CILIUM = {
    "name": "cilium",
    "namespace": "kube-system",
    "chart": "cilium",
    "version": "1.13.0",
    "timeout": 5,
    "values": {"hubble": {part: {"enabled": True, "service": {"type": "LoadBalancer"}} for part in ("relay", "ui")}},
}


def service(name: str, kind: str = "LoadBalancer", **annotations: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": kind, "ports": [{"port": 80}]}}


class Engine:
    """What the engine does with one provider: check, then create, and the state kept by hand."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub = provider_pb2_grpc.ResourceProviderStub(channel)
        self.configure()

    def configure(self, **config: Any) -> None:
        self.stub.Configure(pb.ConfigureRequest(args=encode_properties({"kubeconfig": Secret("k"), **config})))

    def check(self, type_: str, inputs: dict[str, Any], olds: dict[str, Any] | None = None) -> dict[str, Any]:
        request = pb.CheckRequest(urn=urn(type_), olds=encode_properties(olds or {}), news=encode_properties(inputs))
        response = self.stub.Check(request)
        assert not response.failures
        return decode_properties(response.inputs)

    def create(self, type_: str, inputs: dict[str, Any], preview: bool = False) -> tuple[str, dict[str, Any]]:
        properties = encode_properties(self.check(type_, inputs))
        response = self.stub.Create(pb.CreateRequest(urn=urn(type_), properties=properties, preview=preview))
        return response.id, decode_properties(response.properties)

    def update(self, type_: str, state: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        request = pb.UpdateRequest(urn=urn(type_), olds=encode_properties(state), news=encode_properties(inputs))
        return decode_properties(self.stub.Update(request).properties)

    def delete(self, type_: str, state: dict[str, Any]) -> None:
        properties = encode_properties(state)
        self.stub.Delete(pb.DeleteRequest(urn=urn(type_), properties=properties, old_inputs=properties))

    def read(self, type_: str, id_: str, inputs: dict[str, Any]) -> Any:
        return self.stub.Read(pb.ReadRequest(urn=urn(type_), id=id_, inputs=encode_properties(inputs)))

    def diff(self, type_: str, olds: dict[str, Any], news: dict[str, Any]) -> Any:
        old = encode_properties(olds)
        request = pb.DiffRequest(urn=urn(type_), olds=old, old_inputs=old, news=encode_properties(news))
        return self.stub.Diff(request)


def urn(type_: str) -> str:
    return f"urn:pulumi:dev::p::cilium-bgp:index:Cilium$kubernetes:{type_}::named"


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], object]:
    monkeypatch.setenv("SIMULATOR_STATE", str(tmp_path))
    return lambda faults: (tmp_path / "faults.json").write_text(json.dumps(faults))


@pytest.fixture
def engine(faults: object) -> Iterator[Engine]:
    port, stop = serve(PretendKubernetes)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Engine(channel)
    stop()


def failure(action: Callable[[], object]) -> tuple[str, pb.ErrorResourceInitFailed | None]:
    """The error's message and, of a resource that exists nevertheless, what the engine keeps."""
    with pytest.raises(grpc.RpcError) as caught:
        action()
    kept = None
    trailing: Any = caught.value.trailing_metadata()
    if status := dict(trailing).get("grpc-status-details-bin"):
        kept = pb.ErrorResourceInitFailed()
        status_pb2.Status.FromString(status).details[0].Unpack(kept)
    return caught.value.details() or "", kept


def address(outputs: dict[str, Any]) -> str:
    return str(outputs["status"]["loadBalancer"]["ingress"][0]["ip"])


def test_addresses_are_given_in_order_of_creation(engine: Engine) -> None:
    engine.create("core/v1:ConfigMap", POOL)
    engine.create(RELEASE, CILIUM)
    brought = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kube-system", "name": name}}
        for name in ("traefik", "hubble-relay", "hubble-ui")
    ]
    given = [address(decode_properties(engine.read("core/v1:Service", "", its).properties)) for its in brought]
    given.append(address(engine.create("core/v1:Service", service("fcdemo-service"))[1]))
    assert given == ["10.26.23.32", "10.26.23.33", "10.26.23.34", "10.26.23.35"]


def cilium(version: str) -> dict[str, Any]:
    return {**CILIUM, "version": version, "values": {"bgpControlPlane": {"enabled": True}}}


def pool(api_version: str = "cilium.io/v2alpha1") -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": "CiliumLoadBalancerIPPool",
        "metadata": {"name": "pool"},
        "spec": {"blocks": [{"start": "10.26.23.40", "stop": "10.26.23.41"}]},
    }


def operator_has_started() -> None:
    with cluster.opened() as state:
        cluster.register(state)


ALPHA, V2 = "cilium.io/v2alpha1:CiliumLoadBalancerIPPool", "cilium.io/v2:CiliumLoadBalancerIPPool"


def test_a_pool_gives_addresses_and_takes_them_back(engine: Engine) -> None:
    engine.create(RELEASE, cilium("1.16.19"))
    operator_has_started()
    id_, state = engine.create(ALPHA, pool())
    assert id_ == "pool"
    assert address(engine.create("core/v1:Service", service("a"))[1]) == "10.26.23.41"
    engine.delete(ALPHA, state)
    left = decode_properties(engine.read("core/v1:Service", "default/a", service("a")).properties)
    assert not left.get("status")


def test_a_kind_is_served_in_a_version_once_that_operator_has_started(engine: Engine) -> None:
    engine.create(RELEASE, cilium("1.17.5"))
    message, _ = failure(lambda: engine.create(ALPHA, pool()))
    assert 'no matches for kind "CiliumLoadBalancerIPPool" in version "cilium.io/v2alpha1"' in message
    operator_has_started()
    _, state = engine.create(ALPHA, pool())
    engine.update(RELEASE, {}, cilium("1.18.12"))
    message, _ = failure(lambda: engine.update(V2, state, pool("cilium.io/v2")))
    assert 'no matches for kind "CiliumLoadBalancerIPPool" in version "cilium.io/v2"' in message
    assert engine.create(V2, pool("cilium.io/v2"), preview=True)[1]["kind"] == "CiliumLoadBalancerIPPool"
    operator_has_started()
    assert engine.update(V2, state, pool("cilium.io/v2"))["apiVersion"] == "cilium.io/v2"


def test_an_object_is_one_whatever_the_version_by_which_it_is_named(engine: Engine) -> None:
    engine.create(RELEASE, cilium("1.18.12"))
    operator_has_started()
    engine.configure(upsertExistingObjects="true")
    _, old = engine.create(ALPHA, pool())
    engine.create(V2, pool("cilium.io/v2"))
    engine.delete(ALPHA, old)
    assert engine.read(V2, "pool", pool("cilium.io/v2")).id == ""


def test_a_namespace_must_be_there_and_takes_what_is_in_it_along(engine: Engine) -> None:
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "own"}, "data": {}}
    message, _ = failure(lambda: engine.create("core/v1:ConfigMap", inside))
    assert 'namespaces "own" not found' in message
    _, namespace = engine.create(
        "core/v1:Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own"}}
    )
    engine.create("core/v1:ConfigMap", inside)
    engine.delete("core/v1:Namespace", namespace)
    assert engine.read("core/v1:ConfigMap", "own/a", inside).id == ""


def test_a_service_without_an_address_fails_at_its_deadline_and_is_kept(engine: Engine) -> None:
    waiting = service("a", **{"pulumi.com/timeoutSeconds": "1"})
    message, kept = failure(lambda: engine.create("core/v1:Service", waiting))
    assert "was successfully created, but the Kubernetes API server reported that it failed to fully init" in message
    assert "'a' timed out waiting to be Ready" in message
    assert kept is not None
    assert kept.id == "default/a"
    assert "Service was not allocated an IP address; does your cloud provider support this?" in kept.reasons


def test_a_deployment_that_hangs_fails_and_a_later_update_mends_it(
    engine: Engine, faults: Callable[[dict[str, Any]], object]
) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"pulumi.com/timeoutSeconds": "1"}},
        "spec": {"replicas": 2},
    }
    faults({"hang": ["Deployment/default/web"]})
    _, kept = failure(lambda: engine.create("apps/v1:Deployment", deployment))
    assert kept is not None
    assert kept.reasons[1] == "Deployment controller has not seen the change"
    faults({})
    outputs = engine.update("apps/v1:Deployment", decode_properties(kept.properties), deployment)
    assert outputs["status"]["readyReplicas"] == 2


def test_an_object_that_exists_is_not_taken_over(engine: Engine) -> None:
    engine.create("core/v1:ConfigMap", POOL)
    message, kept = failure(lambda: engine.create("core/v1:ConfigMap", POOL))
    assert 'configmaps "bgp-config" already exists' in message
    assert kept is None


def test_an_object_that_exists_is_taken_over_where_the_provider_may(engine: Engine) -> None:
    engine.create("core/v1:ConfigMap", POOL)
    engine.configure(upsertExistingObjects="true")
    _, outputs = engine.create("core/v1:ConfigMap", {**POOL, "data": {"config.yaml": "changed"}})
    assert outputs["data"] == {"config.yaml": "changed"}


def test_a_lost_object_is_gone_at_refresh(engine: Engine, faults: Callable[[dict[str, Any]], object]) -> None:
    id_, _ = engine.create("core/v1:ConfigMap", POOL)
    assert engine.read("core/v1:ConfigMap", id_, POOL).id == id_
    faults({"lose": ["ConfigMap/kube-system/bgp-config"]})
    assert engine.read("core/v1:ConfigMap", id_, POOL).id == ""


def test_an_absent_name_is_made_up_once(engine: Engine) -> None:
    unnamed = {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
    named = engine.check("core/v1:ConfigMap", unnamed)
    assert named["metadata"]["name"].startswith("named-")
    assert engine.check("core/v1:ConfigMap", unnamed, olds=named)["metadata"] == named["metadata"]


@pytest.mark.parametrize(
    ("type_", "change", "replaced"),
    [
        ("core/v1:ConfigMap", {"data": {"config.yaml": "b"}}, True),
        ("core/v1:ConfigMap", {"metadata": {"name": "a", "namespace": "kube-system", "labels": {"x": "y"}}}, False),
        ("core/v1:ConfigMap", {"metadata": {"name": "b", "namespace": "kube-system"}}, True),
        ("core/v1:ConfigMap", {"metadata": {"name": "a", "namespace": "other"}}, True),
        ("apps/v1:Deployment", {"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}}}, False),
        ("apps/v1:Deployment", {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "b"}}}}, True),
    ],
)
def test_what_kubernetes_cannot_change_is_replaced(
    engine: Engine, type_: str, change: dict[str, Any], replaced: bool
) -> None:
    old = {
        "kind": type_.split(":")[1],
        "metadata": {"name": "a", "namespace": "kube-system"},
        "data": {"config.yaml": "a"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    diff = engine.diff(type_, old, {**old, **change})
    assert diff.changes == pb.DiffResponse.DIFF_SOME
    assert bool(diff.replaces) is replaced
    renamed = "metadata" in change
    assert diff.deleteBeforeReplace is (replaced and not renamed)


def test_mutable_config_maps_are_updated(engine: Engine) -> None:
    engine.configure(enableConfigMapMutable="true")
    assert not engine.diff("core/v1:ConfigMap", POOL, {**POOL, "data": {"config.yaml": "x"}}).replaces


def test_the_default_namespace_is_no_difference(engine: Engine) -> None:
    news = service("a")
    olds = {**news, "metadata": {"name": "a", "annotations": {}}}
    assert engine.diff("core/v1:Service", olds, news).changes == pb.DiffResponse.DIFF_NONE


@pytest.mark.parametrize(
    ("old", "new", "replaced"),
    [
        ({"kubeconfig": "a"}, {"kubeconfig": "b"}, ["kubeconfig"]),
        ({"kubeconfig": "a", "clusterIdentifier": "c"}, {"kubeconfig": "b", "clusterIdentifier": "c"}, []),
        (
            {"kubeconfig": "a", "clusterIdentifier": "c"},
            {"kubeconfig": "b", "clusterIdentifier": "d"},
            ["clusterIdentifier", "kubeconfig"],
        ),
        ({"kubeconfig": "a"}, {"kubeconfig": "a", "clusterIdentifier": "c"}, []),
    ],
)
def test_another_cluster_replaces_what_is_on_it(
    engine: Engine, old: dict[str, str], new: dict[str, str], replaced: list[str]
) -> None:
    olds, news = encode_properties(old), encode_properties({**new, "kubeconfig": Secret(new["kubeconfig"])})
    diff = engine.stub.DiffConfig(pb.DiffRequest(old_inputs=olds, news=news))
    assert (diff.changes, list(diff.replaces)) == (pb.DiffResponse.DIFF_SOME, replaced)


def test_content_of_a_secret_is_always_secret(engine: Engine) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "canary"}}
    _, outputs = engine.create("core/v1:Secret", secret)
    assert outputs["stringData"] == outputs["__inputs"]["stringData"] == Secret({"password": "canary"})


def test_a_preview_leaves_what_the_server_decides_unknown(engine: Engine) -> None:
    _, outputs = engine.create("core/v1:Service", {**service("a"), "spec": {"externalName": UNKNOWN}}, preview=True)
    assert outputs["spec"]["externalName"] is UNKNOWN
    _, outputs = engine.create(RELEASE, CILIUM, preview=True)
    assert outputs["status"] is UNKNOWN
    assert engine.read("core/v1:Service", "default/a", service("a")).id == ""


def test_a_release_reports_its_status_and_revision(engine: Engine) -> None:
    id_, outputs = engine.create(RELEASE, CILIUM)
    assert id_ == "kube-system/cilium"
    assert (outputs["status"]["status"], outputs["status"]["revision"]) == ("deployed", 1)
    assert engine.update(RELEASE, outputs, {**CILIUM, "version": "1.13.1"})["status"]["revision"] == 2


def test_a_release_that_gets_not_ready_is_kept_as_failed(
    engine: Engine, faults: Callable[[dict[str, Any]], object]
) -> None:
    faults({"hang": ["Release/kube-system/cilium"]})
    message, kept = failure(lambda: engine.create(RELEASE, CILIUM))
    assert "failed to become available within allocated timeout" in message
    assert kept is not None
    assert decode_properties(kept.properties)["status"]["status"] == "failed"
    faults({})
    assert engine.update(RELEASE, {}, CILIUM)["status"]["status"] == "deployed"


def test_a_release_stuck_in_pending_cannot_be_created_nor_updated(engine: Engine, tmp_path: Path) -> None:
    engine.create(RELEASE, CILIUM)
    file = tmp_path / "kubernetes.json"
    file.write_text(file.read_text().replace('"deployed"', '"pending-install"'))
    message, kept = failure(lambda: engine.create(RELEASE, CILIUM))
    assert "cannot re-use a name that is still in use" in message
    assert kept is None
    message, kept = failure(lambda: engine.update(RELEASE, {}, CILIUM))
    assert "another operation (install/upgrade/rollback) is in progress" in message
    assert kept is None


def test_a_release_goes_with_its_cluster_and_is_never_uninstalled(engine: Engine) -> None:
    _, outputs = engine.create(RELEASE, CILIUM)
    assert "a release goes with its cluster" in failure(lambda: engine.delete(RELEASE, outputs))[0]


def test_another_clusters_kubeconfig_reaches_nothing(engine: Engine, tmp_path: Path) -> None:
    engine.create("core/v1:ConfigMap", POOL)
    (tmp_path / "host.json").write_text('{"cluster": {"ca": "of the new cluster"}}')
    for attempt in (lambda: engine.create("core/v1:ConfigMap", POOL), lambda: engine.create(RELEASE, CILIUM)):
        assert "certificate signed by unknown authority" in failure(attempt)[0]
    message, _ = failure(lambda: engine.read("core/v1:ConfigMap", "kube-system/bgp-config", POOL))
    assert "certificate signed by unknown authority" in message


def test_an_unreachable_cluster_is_an_error_but_in_a_preview(
    engine: Engine, faults: Callable[[dict[str, Any]], object]
) -> None:
    faults({"fail": {"Cluster": "connection refused"}})
    message, _ = failure(lambda: engine.read("core/v1:ConfigMap", "kube-system/bgp-config", POOL))
    assert message == "configured Kubernetes cluster is unreachable: connection refused"
    assert engine.create("core/v1:ConfigMap", POOL, preview=True)[1]["data"] == POOL["data"]
