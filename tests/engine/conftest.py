"""One stack for all the tests of a file."""

from collections.abc import Iterator

import pytest

from scripts import interrupts
from tests.engine.world import World

interrupts.heed()


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Of the file's `CONFIGURATION`, if it says one."""
    file = getattr(request.module, "CONFIGURATION", "Pulumi.dev.yaml")
    with pytest.MonkeyPatch.context() as monkeypatch, World(tmp_path_factory.mktemp("stack"), monkeypatch, file) as its:
        yield its
