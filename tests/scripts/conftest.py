from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.machine import Machine


@pytest.fixture
def new_machine(tmp_path: Path) -> Callable[[], Machine]:
    made: list[Machine] = []

    def new() -> Machine:
        made.append(Machine(tmp_path / str(len(made))))
        return made[-1]

    return new


@pytest.fixture
def machine(new_machine: Callable[[], Machine]) -> Machine:
    return new_machine()
