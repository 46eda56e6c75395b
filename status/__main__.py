"""Is a stack well? Host, LXD, k3s, Cilium, BGP, routes and Services are looked at, live; nothing is changed.

usage: python -m status STACK [--json]

Ends with 0 where all is well, 1 where something is not, 2 where nobody could look.
"""

import argparse
import sys

from status.layers import judge
from status.look import look
from status.show import as_json, is_well, text
from status.stack import UnknownError, read


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("status", description="Is a stack well?")
    parser.add_argument("stack")
    parser.add_argument("--json", action="store_true", help="for programs; with what to do about each finding")
    given = parser.parse_args(arguments)
    try:
        stack = read(given.stack)
    except UnknownError as error:
        print(error, file=sys.stderr)
        return 2
    layers = judge(stack, look(stack))
    if given.json:
        print(as_json(stack.name, layers))
    else:
        print(text(stack.name, layers, fixes=False))
        if not is_well(layers):
            print(f"\nWhat to do: make doctor STACK={stack.name}")
    return int(not is_well(layers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
