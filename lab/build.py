"""Build everything that the lab needs, so that making it needs no compiler any more.

usage: python -m lab.build
"""

import sys

from lab import internet, store, systems
from lab.programs import PROGRAMS, program


def main() -> None:
    for name in PROGRAMS:
        program(name)
    internet.site()
    systems.build("host")


if __name__ == "__main__":
    try:
        main()
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
