"""The guard of tests/conftest.py: what asserts nothing fails."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

GUARD = Path(__file__).parents[1] / "conftest.py"
CONFIGURATION = "[pytest]\nenable_assertion_pass_hook = true\n"
TESTS = """
import asyncio
import pulumi
import pytest

class Mocks(pulumi.runtime.Mocks):
    def call(self, args): return {}
    def new_resource(self, args): return "", {}

def check(value):
    assert value == 2

@pytest.fixture
def given():
    assert True

def test_asserts():
    assert 1 + 1 == 2

def test_expects_an_error():
    with pytest.raises(ValueError):
        int("one")

@pulumi.runtime.test
def test_awaits():
    pulumi.runtime.set_mocks(Mocks())
    return pulumi.Output.from_input(2).apply(check)

def test_is_empty(given):
    pass

def test_never_gets_there():
    if False:
        assert True

def test_does_not_await():
    pulumi.runtime.set_mocks(Mocks())
    pulumi.Output.from_input(3).apply(check)

@pulumi.runtime.test
def test_waits_for_what_a_preview_does_not_know():
    def done(value):
        future = asyncio.get_event_loop().create_future()
        future.set_result(value)
        return future

    pulumi.runtime.set_mocks(Mocks(), preview=True)
    return pulumi.Output(done(set()), done(None), done(False)).apply(check)
"""


def test_a_test_that_asserts_nothing_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makeini(CONFIGURATION)
    pytester.makeconftest(GUARD.read_text())
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-rA")
    result.stdout.no_fnmatch_line("*AssertionError*")
    result.assert_outcomes(passed=3, failed=4)
    for name in ("asserts", "expects_an_error", "awaits"):
        result.stdout.fnmatch_lines([f"PASSED *::test_{name}"])
    for name in ("is_empty", "never_gets_there", "does_not_await", "waits_for_what_a_preview_does_not_know"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{name} - Failed: no assertion ran in this test"])
