"""Take the pictures of README.md: what `make status` and `make doctor` say of the lab that is up.

For the second one an agent's k3s is stopped, and started again.
"""

import os
import re
from pathlib import Path

from rich.console import Console

from lab import stack
from status.layers import judge
from status.look import look
from status.show import coloured
from status.stack import read

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 110
AGENT = "k3s2"


def main() -> None:
    os.environ.update(stack.environment())
    take("status", fixes=False)
    unit = ("lxc", "exec", AGENT, "--", "systemctl")
    stack.HOST.run(*unit, "stop", "k3s-agent")
    try:
        take("doctor", fixes=True)
    finally:
        stack.HOST.run(*unit, "start", "k3s-agent")


def take(command: str, *, fixes: bool) -> None:
    its = read(stack.STACK)
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(coloured(its.name, judge(its, look(its)), fixes=fixes))
    svg = console.export_svg(title=f"make {command} STACK={its.name}")
    # The reader's own font: none is fetched from anywhere.
    (DOCS / f"{command}.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()
