"""`python -m simulator`: the real engine with the providers that are not the official ones."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".cache" / "bin"), os.environ["PATH"]])
PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s
import pulumi_linode as linode

host = linode.Instance("host", label="h", region="eu-central", type="g7-highmem-1", image="linode/ubuntu22.04")
kubeconfig = pulumi.Output.secret(host.ipv4s[0].apply(lambda ip: f"canary {ip}"))
cluster = pulumi.ResourceOptions(provider=k8s.Provider("cluster", kubeconfig=kubeconfig, cluster_identifier="c"))
pool = "address-pools: [{addresses: [10.26.23.32/27]}]"
config = k8s.core.v1.ConfigMap(
    "config", metadata={"name": "bgp-config", "namespace": "kube-system"}, data={"config.yaml": pool}, opts=cluster
)
after = pulumi.ResourceOptions.merge(cluster, pulumi.ResourceOptions(depends_on=[config]))
cilium = k8s.helm.v3.Release("cilium", chart="cilium", name="cilium", namespace="kube-system", opts=after)
after = pulumi.ResourceOptions.merge(cluster, pulumi.ResourceOptions(depends_on=[cilium]))
spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
web = k8s.core.v1.Service("web", metadata={"name": "web"}, spec=spec, opts=after)
pulumi.export("address", web.status.load_balancer.ingress[0].ip)
pulumi.export("release", cilium.status.status)
"""


def simulated(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": PATH,
        "PYTHONPATH": str(ROOT),
        "SIMULATOR_STATE": str(folder / "simulator"),
        "PULUMI_BACKEND_URL": f"file://{folder}",
        "PULUMI_CONFIG_PASSPHRASE": "for this test only",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    return subprocess.run(
        [sys.executable, "-m", "simulator", "--", *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_has_its_own_code_and_output_and_the_providers_are_named(tmp_path: Path) -> None:
    done = simulated(tmp_path, "sh", "-c", "echo $PULUMI_DEBUG_PROVIDERS; exit 7")
    assert done.returncode == 7
    assert [pair.split(":")[0] for pair in done.stdout.strip().split(",")] == ["command", "kubernetes", "linode"]
    assert "kubernetes is SIMULATED; linode is SIMULATED" in done.stderr


def test_an_operation_that_hangs_does_not_outlive_the_command(tmp_path: Path) -> None:
    caller = """
import os, socket, sys, grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from standin.serve import encode_properties

silent = socket.create_server(("127.0.0.1", 0))
connection = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "u", "dialErrorLimit": 0}
properties = encode_properties({"connection": {**connection, "perDialTimeout": 1}, "create": "true"})
port = dict(pair.split(":") for pair in os.environ["PULUMI_DEBUG_PROVIDERS"].split(","))["command"]
stub = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel("127.0.0.1:" + port))
request = provider_pb2.CreateRequest(urn="urn:pulumi:s::p::command:remote:Command::c", properties=properties)
try:
    stub.Create(request, timeout=3)
except grpc.RpcError as error:
    print(error.code().name)
sys.exit(5)
"""
    begun = time.monotonic()
    done = simulated(tmp_path, sys.executable, "-c", caller)
    assert (done.stdout.strip(), done.returncode) == ("DEADLINE_EXCEEDED", 5)
    assert time.monotonic() - begun < 30


@pytest.mark.engine
@pytest.mark.skipif(not shutil.which("pulumi", path=PATH), reason="no pulumi on PATH or in .cache/bin")
def test_a_stack_comes_up_stays_and_goes(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: tiny\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)

    def pulumi(*arguments: str) -> str:
        done = simulated(tmp_path, "pulumi", *arguments, "--non-interactive", "--stack", "dev")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("stack", "init")
    assert "[unknown]" in pulumi("preview")
    pulumi("up", "--yes", "--skip-preview")
    assert json.loads(pulumi("stack", "output", "--json")) == {"address": "10.26.23.33", "release": "deployed"}
    pulumi("preview", "--expect-no-changes")
    pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    assert "canary" not in pulumi("stack", "export")
    pulumi("destroy", "--yes", "--skip-preview")
    left = json.loads((tmp_path / "simulator" / "kubernetes.json").read_text())
    assert list(left["objects"]) == ["Service/kube-system/traefik"]
    assert json.loads((tmp_path / "simulator" / "linode.json").read_text())["made"] == {}
