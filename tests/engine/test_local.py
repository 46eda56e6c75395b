"""The stack on a machine that one has, which is installed anew; and all in one node."""

import pytest

from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]

NODES = ("k3s1", "k3s2", "k3s3")
ON_LXD = {
    *(f"topology-{entity}" for entity in ("pool", "bridge", "profile-k8s")),
    *NODES,
}


def test_a_host_that_was_installed_anew_gets_all_once_its_key_is_pinned(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path_factory.mktemp("anew"), monkeypatch, "Pulumi.local.yaml") as stack:
        stack.up()
        stack.host.rebuild()
        stack.refreshed()
        assert not ON_LXD & stack.resources()
        stack.fails(r"another machine answers, or somebody is between you and it\. .* pin its new key: host\.hostKey")
        stack.setting("host")["hostKey"] = stack.host.key()
        assert stack.as_foreseen().operations["k3s1"] == "create"

        stack.host.rebuild()  # without a refresh this time, and one node less
        stack.setting("host")["hostKey"] = stack.host.key()
        del stack.setting("nodes")["k3s3"]
        done = stack.as_foreseen()
        assert (done.operations["k3s1"], done.operations["k3s3"]) == ("update", "delete")
        stack.unchanged()

        with stack.fault(fail={"ssh": "refused"}):
            stack.fails("if it is gone for good, say so: CILIUM_BGP_DELETE_UNREACHABLE=true pulumi destroy", "destroy")
        stack.host.rebuild()
        stack.destroyed()
        assert stack.leaked() == []


def test_one_node_has_control_plane_and_layer_7(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path_factory.mktemp("control-plane"), monkeypatch, "Pulumi.local.yaml") as stack:
        stack.setting("bgp").update(mode="control-plane")
        stack.setting("k3s")["version"] = "v1.30.2+k3s1"
        stack.setting("cilium").update(version="1.16.19", kubeProxyReplacement=True)
        stack.setting("l7echo")["enabled"] = True
        stack.config["cilium-bgp:nodes"] = {"k3s1": {"role": "server", "address": "10.26.23.11"}}
        stack.up()
        assert stack.holds()
        outputs = stack.outputs()
        assert outputs["load_balancer_ips"]["default/fcdemo-service"].startswith("10.26.23.")
        assert outputs["l7_answer"] == "HTTP/1.1 200 OK"
        stack.unchanged()
        assert stack.leaked() == []
