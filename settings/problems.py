"""A problem of the configuration, and the error that carries all of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is wrong with one key, for a person: value, consequence, fix."""

    key: str
    """Where the fix goes, as `pulumi config set --path` writes it."""
    text: str
    also: tuple[str, ...] = ()
    """Other keys whose values the finding rests on."""

    def __str__(self) -> str:
        """In one line, whatever the value holds."""
        return "".join(its if its.isprintable() else repr(its)[1:-1] for its in f"{self.key}: {self.text}")

    def rests_on(self, key: str) -> bool:
        """Whether that key's value, or one inside or around it, was looked at."""
        return any(_within(used, key) or _within(key, used) for used in (self.key, *self.also))


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


class ConfigurationError(ValueError):
    """Every problem of a configuration, one line each: key, value, consequence, fix."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
