"""How layers are shown: as text, on a terminal, or as JSON."""

import json
from dataclasses import asdict

from status.finding import Layer


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
