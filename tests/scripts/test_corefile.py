"""The layer 7 example's Corefile, in a real CoreDNS: in a network of its own, where json-mock has its port already."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.l7_echo import COREFILE
from lab import programs, store

POD = """
ip link set lo up
python3 -m http.server 8080 >/dev/null 2>&1 & mock=$!
until curl -sf -o /dev/null http://127.0.0.1:8080/; do sleep 0.1; done
"$1" -conf "$2" & dns=$!
trap 'kill $mock $dns 2>/dev/null' EXIT
tries=0
until curl -sf -o /dev/null http://127.0.0.1:8181/ready; do
    kill -0 $dns || exit 1
    tries=$((tries + 1))
    [ $tries -lt 50 ] || exit 2
    sleep 0.1
done
"""


@pytest.fixture(scope="module")
def coredns() -> Iterator[Path]:
    """Built already, or in CI. `store` says so before it builds."""

    def skip(_: str) -> None:
        pytest.skip("CoreDNS is not built, which takes a minute: make lab, or CI=1 make test")

    with pytest.MonkeyPatch.context() as monkeypatch:
        if not os.environ.get("CI"):
            monkeypatch.setattr(store, "say", skip)
        try:
            yield programs.program("coredns")
        except store.BuildError as error:
            pytest.skip(f"CoreDNS cannot be built here: {error}")


def started(coredns: Path, corefile: Path) -> subprocess.CompletedProcess[str]:
    enter = ["unshare", "-n" if os.geteuid() == 0 else "-rn", "sh", "-ec", POD, "sh", str(coredns), str(corefile)]
    done = subprocess.run(enter, capture_output=True, text=True, check=False, timeout=60)
    if done.stderr.startswith("unshare: "):
        pytest.skip(f"no network namespace: {done.stderr.strip()}")
    return done


def test_coredns_takes_it_and_becomes_ready(coredns: Path, tmp_path: Path) -> None:
    corefile = tmp_path / "Corefile"
    corefile.write_text(COREFILE)
    done = started(coredns, corefile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(".:53\n")


@pytest.mark.parametrize(
    ("health", "said"),
    [("health { lameduck 5s }", "unexpected line ending after '}'"), ("health", "bind: address already in use")],
)
def test_it_would_refuse_the_health_plugin(coredns: Path, tmp_path: Path, health: str, said: str) -> None:
    corefile = tmp_path / "Corefile"
    corefile.write_text(COREFILE.replace("    ready\n", f"    {health}\n    ready\n"))
    done = started(coredns, corefile)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
