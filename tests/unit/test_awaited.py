"""How the Python programs of components/scripts wait."""

from types import SimpleNamespace

import pytest

from components.scripts import awaited


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(awaited, "time", clock)


def test_a_long_wait_says_every_15_seconds_what_for_and_what_was_last_seen(capsys: pytest.CaptureFixture[str]) -> None:
    left = iter(["no session\nno route"] * 20)
    assert awaited.awaited(60, "the proof", lambda: next(left, "")) == ""
    said = capsys.readouterr()
    assert said.out == ""
    told = "waiting for the proof: last seen no route"
    assert said.err == f"{told} (16 of 60 s)\n{told} (32 of 60 s)\n"


def test_what_was_missing_last_is_told_at_the_end() -> None:
    assert awaited.awaited(60, "the proof", lambda: "no session\nno route") == "no session\nno route"


def test_an_error_without_words_is_no_success() -> None:
    assert awaited.words_of(TimeoutError()) == "TimeoutError"
