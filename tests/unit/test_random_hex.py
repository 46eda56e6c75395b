"""A random text is made once, whatever the program says later."""

from components.random_hex import RandomHexProvider


def test_it_is_long_enough_and_no_other_has_it() -> None:
    made = [RandomHexProvider().create({"bytes": 16.0, "value": None}).outs or {} for _ in range(2)]
    assert [len(bytes.fromhex(its["value"])) for its in made] == [16, 16]
    assert made[0]["value"] != made[1]["value"]


def test_a_program_that_asks_for_more_gets_the_same() -> None:
    provider = RandomHexProvider()
    assert not provider.diff("made", {"bytes": 16.0, "value": "f" * 32}, {"bytes": 32.0, "value": None}).changes
    assert provider.create({"bytes": 2.0}).id == "made"
