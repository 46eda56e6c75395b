"""What is told of a stack: what is not well, each with what to do about it, and the layers of it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something that is not well."""

    what: str
    fix: str
    """What to do about it; lines to type are in backticks."""


@dataclass(frozen=True)
class Layer:
    """One of those that each rest on the one before."""

    name: str
    state: Literal["well", "broken", "not looked at"]
    seen: list[str] = field(default_factory=list)
    """A line each."""
    findings: list[Finding] = field(default_factory=list)
    """What is broken."""
