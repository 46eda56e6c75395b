"""Is a stack well? Host, LXD, k3s, Cilium, BGP, routes and Services are looked at, live; nothing is changed.

usage: python -m status STACK [--json | --watch SECONDS]

Ends with 0 where all is well, 1 where something is not, 2 where nobody could look.
"""

import argparse
import sys
import time
from contextlib import suppress

from status.layers import judge
from status.look import look
from status.show import as_json, coloured, is_well, show
from status.stack import Stack, UnknownError, read


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("status", description="Is a stack well?")
    parser.add_argument("stack")
    parser.add_argument("--json", action="store_true", help="for programs; with what to do about each finding")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="on a terminal: again after each of them")
    given = parser.parse_args(arguments)
    try:
        stack = read(given.stack)
    except UnknownError as error:
        print(error, file=sys.stderr)
        return 2
    if given.watch:
        watch(stack, given.watch)
    layers = judge(stack, look(stack))
    if given.json:
        print(as_json(stack.name, layers))
    else:
        show(stack.name, layers, fixes=False)
        if not is_well(layers):
            print(f"\nWhat to do: make doctor STACK={stack.name}")
    return int(not is_well(layers))


def watch(stack: Stack, seconds: float) -> None:
    """Look again and again, on a terminal, until Ctrl-C."""
    from rich.live import Live  # noqa: PLC0415  no terminal, no need

    with suppress(KeyboardInterrupt), Live(auto_refresh=False, screen=True) as live:
        while True:
            live.update(coloured(stack.name, judge(stack, look(stack)), fixes=False), refresh=True)
            time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
