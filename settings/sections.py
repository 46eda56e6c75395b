"""The models as a list of tables: what keys there are, and where."""

from collections.abc import Iterator
from typing import get_args, get_origin

from pydantic import BaseModel

from settings.models import Settings


def sections(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model with its path: "", "host" (twice), "lxd.bridge", "nodes.NAME", "exposure.forwards[N]" …"""
    yield path, model
    for key, annotation in keys(model).items():
        inner = f"{path}.{key}" if path else key
        if get_origin(annotation) is dict:
            inner = f"{inner}.NAME"
        elif get_origin(annotation) is tuple:
            inner = f"{inner}[N]"
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from sections(candidate, inner)


def keys(model: type[BaseModel]) -> dict[str, object]:
    """Key as it is written, to the type of its value."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
