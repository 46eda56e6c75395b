"""The bench's arithmetic; its runs are `make bench`."""

from scripts.bench import AIMS, Run, ratios, spread, verdict

AIM = AIMS[0]


def runs(*seconds: float) -> list[Run]:
    return [Run(each, cpu=1, simulator=0, resources=1) for each in seconds]


def test_ratios_are_of_the_runs_of_one_round() -> None:
    assert ratios(runs(4, 9, 2), runs(2, 3, 4)) == [2, 3, 0.5]


def test_spread_is_minimum_median_and_maximum() -> None:
    assert spread([5, 1, 2, 9]) == "1.00 | 3.50 | 9.00"


def test_the_median_of_the_ratios_decides() -> None:
    results = {AIM.case: runs(4, 4, 90), AIM.base: runs(2, 2, 2)}
    assert verdict(AIM, results) == f"| {AIM.what} | 2.00 | 2.00 | 45.00 | at most 2 | met |"


def test_what_is_missed_is_said_in_ratio_and_seconds() -> None:
    results = {AIM.case: runs(6, 6, 2), AIM.base: runs(2, 2, 2)}
    assert verdict(AIM, results) == f"| {AIM.what} | 1.00 | 3.00 | 3.00 | at most 2 | missed by 1.00, that is 2.0 s |"
