"""Write docs/configuration.md from the models in settings/. With --check, exit 1 when the page is not current."""

import inspect
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

sys.path.insert(0, str(Path(__file__).parent.parent))

# The project is not installed, and a script's own folder is all that Python looks in.
from settings import values
from settings.checks import SECRETS
from settings.sections import sections
from settings.versions import MODES, TESTED_KUBERNETES, has_mode, text

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
HEAD = """\
# Configuration

Written by `scripts/configuration_docs.py` from `settings/models.py`: change those, then run it.

Each root is one key of the stack's file, `Pulumi.STACK.yaml`, with a map below it. Set a single value with

    pulumi config set --path cilium-bgp:bgp.pool 10.26.23.32/27

and a secret with `pulumi config set --secret`, which encrypts it. Unknown keys are refused. Everything is checked
before anything is created, and every problem is reported at once.

*required* means that there is no default.
"""
TYPES = {
    values.Pool: "IPv4 CIDR",
    values.PodCidr: "IPv4 CIDR",
    values.ServiceCidr: "IPv4 CIDR",
    values.AllowedCidr: "CIDR, IPv4 or IPv6",
    values.NodeAddress: "IPv4 address",
    values.BridgeAddress: "IPv4 address/prefix",
    values.DhcpRange: "FIRST-LAST",
    values.Port: "port",
    values.Seconds: "seconds",
    values.TimerSeconds: "seconds",
    values.HoldTime: "seconds",
    values.RestartTime: "seconds",
    values.Url: "URL",
    int: "number",
    str: "text",
    bool: "true or false",
    object: "any",
}


def type_of(annotation: object) -> str:
    """The type in words."""
    if annotation in TYPES:
        return TYPES[annotation]
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if get_origin(annotation) is tuple:
        return f"list of {type_of(inner[0])}".replace("of map", "of maps")
    if get_origin(annotation) is dict or isinstance(annotation, type):
        return "map"
    if get_origin(annotation) is Annotated:
        return type_of(inner[0])
    return " or ".join("null" if one is type(None) else type_of(one) for one in inner)


def default_of(field: FieldInfo) -> str:
    """The default as YAML takes it."""
    value = field.default
    if field.is_required():
        return "*required*"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None:
        return "`null`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def one_line(text: str) -> str:
    """A line break would end the table's row."""
    return " ".join(text.split())


def table(model: type[BaseModel], path: str) -> str:
    """One model as a table of its plain keys."""
    hints = inspect.get_annotations(model)
    rows = [
        f"| `{field.alias or name}` | {type_of(hints[name])} | {default_of(field)} | {one_line(field.description)} |"
        for name, field in model.model_fields.items()
        if field.description and field.alias not in SECRETS
    ]
    head = f"## {path}\n\n{model.__doc__}\n" if path else "## Roots without keys below\n"
    return "\n".join([head, "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]) if rows else ""


def page() -> str:
    """The whole page."""
    (_, root), *inner = sections()
    secrets = {field.alias: field.description for field in root.model_fields.values() if field.alias in SECRETS}
    parts = [HEAD]
    for path, model in inner:
        kind = f" (kind `{get_args(model.model_fields['kind'].annotation)[0]}`)" if path == "host" else ""
        parts.append(table(model, f"`{path}`{kind}"))
    parts.append(table(root, ""))
    parts.append("## Secret roots\n\n| key | meaning |\n|---|---|")
    parts[-1] += "".join(f"\n| `{key}` | {meaning} |" for key, meaning in secrets.items()) + "\n"
    parts.append("## Which versions go together\n\n| Cilium | Kubernetes | `bgp.mode` |\n|---|---|---|")
    for cilium, ranges in TESTED_KUBERNETES.items():
        modes = ", ".join(f"`{mode}`" for mode in MODES if has_mode(cilium, mode))
        for its in ranges:
            release = f"{text(cilium)} from .{its.patch}" if len(ranges) > 1 else text(cilium)
            parts[-1] += f"\n| {release} | {its} | {modes} |"
    return "\n".join(part for part in parts if part) + "\n"


def main() -> int:
    """Write the page, or only say whether it is current."""
    if sys.argv[1:] != ["--check"]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print(
        "docs/configuration.md is not what the models say; run: python scripts/configuration_docs.py", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
