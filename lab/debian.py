"""Root file systems of Debian packages, by mmdebstrap from the mirror that this machine's apt uses."""

from collections.abc import Sequence
from pathlib import Path

from lab import store

SUITE = "bookworm"
_DOCUMENTATION = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


def command(packages: Sequence[str], leave_out: Sequence[str] = ()) -> list[str]:
    """mmdebstrap with `packages` and their dependencies, without the paths `leave_out`; takes TARGET at its end."""
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in (*_DOCUMENTATION, *leave_out)]
    return [
        "nice",
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *options,
        SUITE,
    ]


def root(command: Sequence[str], folder: Path) -> None:
    store.install_packages({"mmdebstrap": "mmdebstrap"})
    store.run([*command, folder, *_mirror()])


def _mirror() -> list[str]:
    """Mirror of SUITE in apt's configuration; none, for mmdebstrap to choose, if this machine has another release."""
    targets = store.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    found = [line.split() for line in targets.splitlines()]
    return [uri for codename, uri in found if codename == SUITE][:1]
