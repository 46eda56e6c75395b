"""Typed configuration of a stack, checked before anything is created.

`load()` reads the stack's configuration; `parse()` is the same without Pulumi.
"""

from settings.models import ExistingSettings, ForwardSettings, LinodeSettings, NodeSettings, Settings
from settings.problems import ConfigurationError
from settings.reading import load, parse

__all__ = [
    "ConfigurationError",
    "ExistingSettings",
    "ForwardSettings",
    "LinodeSettings",
    "NodeSettings",
    "Settings",
    "load",
    "parse",
]
