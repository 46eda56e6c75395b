"""The same stack, switched over from ConfigMap to Cilium's BGP Control Plane while it answers."""

import pytest

from tests.e2e.conftest import Switched
from tests.e2e.stack import check_all, unchanged

pytestmark = pytest.mark.e2e


def test_the_switch_keeps_addresses_and_traffic(control_plane: Switched, capsys: pytest.CaptureFixture[str]) -> None:
    assert control_plane.outputs["load_balancer_ips"] == control_plane.former
    hold_time = 90
    assert control_plane.gap < hold_time
    with capsys.disabled():
        print(f"longest time without an answer: {control_plane.gap:.1f} s", end=" ")


def test_the_control_plane_announces_the_same(control_plane: Switched) -> None:
    check_all(control_plane)
    maps = control_plane.kubectl("get", "configmaps", "-n", "kube-system")["items"]
    assert "bgp-config" not in {each["metadata"]["name"] for each in maps}


def test_after_the_switch_nothing_changes(control_plane: Switched) -> None:
    unchanged()
