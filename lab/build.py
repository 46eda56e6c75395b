"""Build everything that the lab needs, and lay out what its HTTP server serves.

usage: python -m lab.build              build what is missing; the folders are printed as KEY=PATH lines
"""

import hashlib
import shutil
import sys
from pathlib import Path

from lab import images, node, store
from lab.programs import K3S_VERSION, PROGRAMS, module_folder, program

HERE = Path(__file__).resolve().parent
_SERVER = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")


def main() -> None:
    programs = {name: program(name) for name in PROGRAMS}
    node.build()
    site = _site(images.build())
    chart = module_folder("cilium", "github.com/cilium/cilium") / "install/kubernetes/cilium"
    binaries = store.CACHE / "bin"
    binaries.mkdir(exist_ok=True)
    for name in ("kubectl", "hubble"):
        _link(binaries / name, programs[name])
    print(f"SITE={site}", f"CHART={chart}", f"BIN={binaries}", sep="\n")


def _site(archive: Path) -> Path:
    """Folder to serve: the installer, and beside it releases laid out as the official ones are."""
    own = {"k3s": "k3s.py", "coredns.yaml": "coredns.yaml", "traefik.yaml": "traefik.yaml"}
    built = {name: program(name) for name in _SERVER} | {images.ARCHIVE: archive}

    def write(folder: Path) -> None:
        shutil.copyfile(HERE / "k3s" / "install.sh", folder / "install.sh")
        release = folder / "download" / K3S_VERSION
        release.mkdir(parents=True)
        for name, source in own.items():
            shutil.copyfile(HERE / "k3s" / source, release / name)
        for name, path in built.items():
            _link(release / name, path)
        sums = []
        for path in sorted(release.iterdir()):
            with path.open("rb") as file:
                sums.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
        (release / "sha256sum-amd64.txt").write_text("".join(sums))

    return store.make("site", [str(built), HERE / "k3s", Path(__file__)], "3 s", write)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


if __name__ == "__main__":
    try:
        main()
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
