"""One stack for all the tests of a file."""

from collections.abc import Iterator

import pytest

from tests.engine.world import World


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as monkeypatch, World(tmp_path_factory.mktemp("stack"), monkeypatch) as stack:
        yield stack
