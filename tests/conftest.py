"""A test in which nothing was asserted fails: an apply that never ran asserts nothing, and silently passes."""

import gc
from collections.abc import Iterator
from types import TracebackType

import pytest

# What these assert for a test counts as the test's.
pytest.register_assert_rewrite("tests.e2e.stack", "tests.e2e.machine", "tests.engine.world")

# Whole programs run in this process: Python would look for garbage among their hundreds of thousands of objects often.
gc.set_threshold(100_000, 50)

asserted = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Counts from the test's first line to its last: assertions of its fixtures are not its own."""
    pyfuncitem.stash[asserted] = 0
    with pytest.MonkeyPatch.context() as patch:
        leave = pytest.RaisesExc.__exit__

        def counted(
            raises: pytest.RaisesExc[BaseException],
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> bool:
            pyfuncitem.stash[asserted] += 1
            return leave(raises, kind, error, trace)

        patch.setattr(pytest.RaisesExc, "__exit__", counted)
        result = yield
    if pyfuncitem.stash[asserted] == 0:
        pytest.fail("no assertion ran in this test", pytrace=False)
    return result


def pytest_assertion_pass(item: pytest.Item) -> None:
    """Called for every `assert` that held (enable_assertion_pass_hook in pyproject.toml)."""
    if asserted in item.stash:
        item.stash[asserted] += 1
