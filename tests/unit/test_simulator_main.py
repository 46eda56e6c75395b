"""`python -m simulator`: any command with the providers that are not the official ones."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def simulated(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIMULATOR_STATE": str(folder / "simulator")}
    return subprocess.run(
        [sys.executable, "-m", "simulator", "--", *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_has_its_own_code_and_output_and_the_providers_are_named(tmp_path: Path) -> None:
    asked = "echo $PULUMI_DEBUG_PROVIDERS; echo $PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION; exit 7"
    done = simulated(tmp_path, "sh", "-c", asked)
    assert done.returncode == 7
    attached, no_downloads = done.stdout.split()
    assert [pair.split(":")[0] for pair in attached.split(",")] == ["command", "kubernetes", "linode"]
    assert no_downloads == "true"
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
