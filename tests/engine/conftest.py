"""One stack for all the tests of a file."""

from collections.abc import Iterator

import pytest

from scripts import interrupts
from tests.engine.world import World

interrupts.heed()


def pytest_itemcollected(item: pytest.Item) -> None:
    """The program runs in processes of its own: measuring this one would only slow down the pretend world."""
    item.add_marker("no_cover")


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Of the file's `CONFIGURATION`, if it says one."""
    file = getattr(request.module, "CONFIGURATION", "Pulumi.dev.yaml")
    with pytest.MonkeyPatch.context() as monkeypatch, World(tmp_path_factory.mktemp("stack"), monkeypatch, file) as its:
        yield its
