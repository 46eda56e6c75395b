"""Run a command with providers that the engine attaches to instead of the official plugins.

usage: python -m simulator [NAME…] -- COMMAND…
"""

import os
import signal
import subprocess
import sys

from simulator.kubernetes import PretendKubernetes
from simulator.linode import Linode
from simulator.providers import PROVIDERS
from standin.command import Command
from standin.serve import attached, serve


def main(arguments: list[str]) -> int:
    if "--" not in arguments:
        sys.exit(__doc__)
    middle = arguments.index("--")
    names = arguments[:middle] or list(PROVIDERS)
    if unknown := set(names) - set(PROVIDERS):
        sys.exit(f"no provider {', '.join(sorted(unknown))}: choose from {', '.join(PROVIDERS)}")

    says = {
        Command: "command is a stand-in over real SSH",
        PretendKubernetes: "kubernetes is SIMULATED",
        Linode: "linode is SIMULATED",
    }
    chosen = {name: PROVIDERS[name] for name in names}
    print(f"Providers: {'; '.join(says[p] for p in chosen.values())}.", file=sys.stderr)
    served = {name: serve(provider) for name, provider in chosen.items()}
    child = subprocess.Popen(arguments[middle + 1 :], env=os.environ | attached(served))
    # The terminal's interrupt reaches the engine itself, which ends in order; until then it needs its providers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        for _, stop in served.values():
            stop()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # An operation that hangs, as SSH to a silent server does, keeps its thread and would keep this process.
    os._exit(code)
