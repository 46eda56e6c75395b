"""How layers are shown: as text, on a terminal, or as JSON."""

import json
import sys
from dataclasses import asdict
from typing import Any

from status.finding import Layer

COLOURS = {"well": "green", "broken": "bold red", "not looked at": "dim"}


def is_well(layers: list[Layer]) -> bool:
    return all(layer.state == "well" for layer in layers)


def verdict(stack: str, layers: list[Layer]) -> str:
    broken = next((layer.name for layer in layers if layer.state == "broken"), None)
    return f"{stack} is well" if broken is None else f"{stack} is not well: {broken}"


def as_json(stack: str, layers: list[Layer]) -> str:
    return json.dumps(
        {"stack": stack, "well": is_well(layers), "layers": [asdict(layer) for layer in layers]}, indent=1
    )


def text(stack: str, layers: list[Layer], *, fixes: bool) -> str:
    """With `fixes`, what to do about it too."""
    lines = [verdict(stack, layers)]
    for layer in layers:
        lines.append(f"  {layer.name:9} {layer.state}")
        lines += [f"            {line}" for line in layer.seen]
        for finding in layer.findings:
            lines.append(f"            ! {finding.what}")
            if fixes:
                lines.append(f"              {finding.fix}")
    return "\n".join(lines)


def coloured(stack: str, layers: list[Layer], *, fixes: bool) -> Any:
    """The same for a terminal: something that `rich` prints."""
    from rich.console import Group  # noqa: PLC0415  no terminal, no need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    for layer in layers:
        lines = [Text(line) for line in layer.seen]
        for finding in layer.findings:
            lines.append(Text(finding.what, style="red"))
            if fixes:
                lines.append(Text(finding.fix, style="yellow"))
        table.add_row(Text(layer.name, style="bold"), Text(layer.state, style=COLOURS[layer.state]), Group(*lines))
    return Group(Text(verdict(stack, layers), style="bold green" if is_well(layers) else "bold red"), table)


def show(stack: str, layers: list[Layer], *, fixes: bool) -> None:
    """On standard output: in colours where that is a terminal."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415

        Console().print(coloured(stack, layers, fixes=fixes))
    else:
        print(text(stack, layers, fixes=fixes))
