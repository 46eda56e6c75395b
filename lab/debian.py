"""Root file systems of Debian packages, by mmdebstrap from the mirror that this machine's apt uses."""

from collections.abc import Sequence
from pathlib import Path

from lab import store

SUITE = "bookworm"
_DOCUMENTATION = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


def command(packages: Sequence[str], customize: str) -> list[str]:
    """mmdebstrap with `packages` and what they depend on, then the script `customize` with the root as $1.

    It lacks the target folder and the mirror, which root() adds.
    """
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _DOCUMENTATION]
    included = f"--include={','.join(packages)}"
    return [
        "nice",
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        included,
        *options,
        f"--customize-hook={customize}",
    ]


def root(command: Sequence[str], folder: Path) -> None:
    store.install_packages({"mmdebstrap": "mmdebstrap"})
    # What it mounts in the folder goes with its processes, even if they are killed.
    store.run(["unshare", "--mount", "--propagation", "private", *command, SUITE, folder, *_mirror()])


def _mirror() -> list[str]:
    """Mirror of SUITE in apt's configuration; none, for mmdebstrap to choose, if this machine has another release."""
    targets = store.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    found = [line.split() for line in targets.splitlines()]
    return [uri for codename, uri in found if codename == SUITE][:1]
