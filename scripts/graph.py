"""The picture of the graph, from a stack's own state.

usage: pulumi stack export | python -m scripts.graph [--check | --write]

Prints a Mermaid flowchart of the components and of what flows between them; --write puts it into README.md, --check
fails when README.md has another one.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"
COMPONENT = "::cilium-bgp:index:"
SHADOWS = (":FirstSeen", ":Finalizer", ":Identity")
"""Types of resources that stand beside another one, not shown."""
MARKS = re.compile(r"(<!-- graph: .*? -->\n).*?(<!-- /graph -->)", re.DOTALL)


def components(resources: list[dict[str, Any]]) -> dict[str, str]:
    """By URN, the URN of the outermost component that a resource is in."""
    parents = {resource["urn"]: resource.get("parent", "") for resource in resources}

    def outermost(urn: str) -> str:
        parent = parents.get(urn, "")
        return urn if not parent or "pulumi:pulumi:Stack" in parent else outermost(parent)

    return {urn: outermost(urn) for urn in parents}


def edges(resources: list[dict[str, Any]]) -> dict[str, set[str]]:
    """For each component those that it takes something from, without what is implied by the others."""
    owner = components(resources)
    found: dict[str, set[str]] = defaultdict(set)
    for resource in resources:
        provider = resource.get("provider", "").rpartition("::")[0]
        for urn in [*resource.get("dependencies", []), provider]:
            if urn in owner and COMPONENT in owner[urn] and owner[urn] != owner[resource["urn"]]:
                found[owner[resource["urn"]]].add(owner[urn])

    def behind(urn: str) -> set[str]:
        return found[urn].union(*(behind(other) for other in found[urn])) if urn in found else set()

    return {urn: others - set().union(*map(behind, others)) for urn, others in list(found.items())}


def flowchart(state: dict[str, Any]) -> str:
    resources = [each for each in state["deployment"]["resources"] if "pulumi:pulumi:Stack" not in each["type"]]
    owner = components(resources)
    inside: dict[str, list[str]] = defaultdict(list)
    for resource in resources:
        shadow = resource["type"].endswith(SHADOWS)
        if COMPONENT in owner[resource["urn"]] and owner[resource["urn"]] != resource["urn"] and not shadow:
            inside[owner[resource["urn"]]].append(resource["urn"].rpartition("::")[2])
    lines = ["```mermaid", "flowchart LR"]
    for urn in sorted(set(owner.values())):
        if COMPONENT in urn:
            name = urn.rpartition("::")[2]
            kind = urn.rpartition("::")[0].rpartition(":")[2]
            label = "<br/>".join([f"<b>{kind}</b>", *sorted(inside[urn])])
            lines.append(f'  {name}["{label}"]')
    lines += sorted(
        f"  {other.rpartition('::')[2]} --> {urn.rpartition('::')[2]}"
        for urn, others in edges(resources).items()
        for other in others
    )
    return "\n".join([*lines, "```", ""])


def main(mode: str = "") -> int:
    picture = flowchart(json.load(sys.stdin))
    old = README.read_text()
    new = MARKS.sub(lambda found: found[1] + picture + found[2], old)
    if mode == "--write":
        README.write_text(new)
    elif mode == "--check" and new != old:
        print("README.md shows another graph; write it with: make graph", file=sys.stderr)
        return 1
    elif not mode:
        print(picture, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
