"""One lab for all files, which tell one story in the order of their names:

configmap (from a fresh host; who gets where), control_plane (switched over; a pod once more), lan (addresses told to a
router beyond, and taken back), losses (and how status names what is broken), preflight (of another host), removal (all
gone), restart_during_up (anew, behind UFW). After them servers, and three with stacks of their own: ten_nodes,
under_change, and upkeep (what is planned).
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import build, stack
from tests.e2e import machine
from tests.e2e.attack import listening_on_the_host
from tests.e2e.stack import Fresh, Gaps, Stack


@pytest.fixture(scope="session", autouse=True)
def before() -> Iterator[dict[str, Any]]:
    """The machine as it was without a lab, but with the packages that building one takes.

    KEEP=1 begins with the lab that is there, and leaves it.
    """
    build.main()
    if os.environ.get("KEEP") != "1":
        assert stack.main("destroy") == 0
    stack.setup_lxd("start")
    yield {"standing": machine.standing(), "passing": machine.passing()}
    if os.environ.get("KEEP") != "1":
        stack.main("destroy")


@pytest.fixture(autouse=True)
def journals(request: pytest.FixtureRequest) -> Iterator[None]:
    """What goes wrong leaves its journals behind."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(stack.journals())


@pytest.fixture(scope="session")
def configmap(before: dict[str, Any]) -> Fresh:
    started = time.monotonic()
    with stack.alone():
        stack.prepare("configmap")
    listened = listening_on_the_host()
    assert stack.main("up", "configmap") == 0
    print(f"up in {time.monotonic() - started:.0f} s")
    return Fresh(listened)


class Switched(Stack):
    """The running stack, switched over; without the pods' ranges this time."""

    def __init__(self, gap: float, former: dict[str, str]) -> None:
        super().__init__()
        self.gap, self.former = gap, former


@pytest.fixture(scope="session")
def control_plane(configmap: Fresh) -> Switched:
    with Gaps(configmap.fcdemo) as gaps:
        assert stack.main("up", "control-plane") == 0
    return Switched(gaps.longest, configmap.outputs["load_balancer_ips"])
