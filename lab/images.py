"""The container images of the lab, in one archive: real Cilium, Hubble Relay and CoreDNS, and stand-ins for the rest.

Each has the name that manifests and charts ask for, since no registry of images can be reached. Stand-ins say so in
their answers and in the label `cilium-bgp.lab`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from lab import archive, debian, store
from lab.archive import Image
from lab.programs import CILIUM_VERSION, cilium_source, part, program

ARCHIVE = "k3s-airgap-images-amd64.tar"
HERE = Path(__file__).resolve().parent
# Cilium's programs leave a file for the debugger gops there, Hubble Relay not as root.
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOPS_CONFIG_DIR": "/dev/shm"}  # noqa: S108
_REAL = {"cilium-bgp.lab": "built from source by the lab"}
_STAND_IN = {"cilium-bgp.lab": "stand-in"}

# What Cilium's agent calls while it runs: the compiler with its libraries, not what a developer needs beside it.
_RUNTIME = debian.command(
    ["clang-19", "bpftool", "iptables", "ipset", "iproute2", "kmod", "mount", "containernetworking-plugins"],
    """
    set -eu
    cd "$1/usr"
    rm -rf include lib/gcc share/perl* lib/cni/[!l]* lib/llvm-19/lib/LLVMPolly.so lib/llvm-19/lib/clang/19/include/arm_*
    cd lib/x86_64-linux-gnu
    rm -rf *.a perl libperl.so* libclang-19.so* lib*san.so* libgprofng.so*
    """,
)


def build() -> Path:
    """Path of the archive."""
    runtime, coredns, httpd, pause = _runtime(), *map(_programs, ("coredns", "httpd", "pause"))

    def web(name: str, port: int, text: str, *below: Path) -> Image:
        command = ["/usr/bin/httpd", "-listen", f":{port}", "-text", f"{text} (a stand-in of the lab)"]
        return Image(name, [*below, httpd], command, labels=_STAND_IN)

    images = [
        *_cilium(CILIUM_VERSION),
        Image("docker.io/rancher/mirrored-coredns-coredns:1.10.1", [coredns], ["/usr/bin/coredns"], labels=_REAL),
        Image("docker.io/rancher/mirrored-pause:3.6", [pause], ["/usr/bin/pause"], labels=_STAND_IN),
        web("docker.io/rancher/mirrored-library-traefik:2.10.7", 8000, "traefik"),
        web("docker.io/mcas/franceconnect-demo2:latest", 3000, "FranceConnect demo", runtime),  # which has sleep(1)
        web("quay.io/cilium/hubble-ui:v0.13.3", 8081, "Hubble UI"),
        web("quay.io/cilium/hubble-ui-backend:v0.13.3", 8090, "Hubble UI's backend"),
    ]
    return _archive("images", images)


def cilium(version: str) -> Path:
    """Path of an archive with Cilium's own images of another version."""
    return _archive(part("images", version), _cilium(version))


def _cilium(version: str) -> list[Image]:
    agent, operator, relay = (
        _agent(version),
        _programs("cilium-operator-generic", version),
        _programs("hubble-relay", version),
    )
    return [
        Image(f"quay.io/cilium/cilium:v{version}", [_runtime(), agent], env=_ENV, labels=_REAL),
        Image(f"quay.io/cilium/operator-generic:v{version}", [operator], env=_ENV, labels=_REAL),
        Image(f"quay.io/cilium/hubble-relay:v{version}", [relay], ["/usr/bin/hubble-relay"], _ENV, _REAL),
    ]


def _archive(name: str, images: list[Image]) -> Path:
    def write(folder: Path) -> None:
        archive.write(images, folder / ARCHIVE)

    # The layers lie in folders named after what they are made from.
    described = [str(image) for image in images]
    inputs: list[str | Path] = [*described, Path(archive.__file__)]
    return store.make(name, inputs, "10 s", write) / ARCHIVE


def _runtime() -> Path:
    def build(folder: Path) -> None:
        debian.root(_RUNTIME, folder / "root")
        archive.layer(folder / "root", folder / "layer.tar")
        shutil.rmtree(folder / "root")

    return store.make("cilium-runtime", [*_RUNTIME, Path(archive.__file__)], "40 s", build) / "layer.tar"


def _agent(version: str) -> Path:
    source = cilium_source(version)
    names = ("cilium-agent", "cilium-dbg", "cilium-mount", "cilium-sysctlfix", "cilium-health-responder", "hubble")
    files = {f"usr/bin/{name}": program(name, version) for name in names} | {
        "usr/libexec/cilium-agent": program("cilium-agent", version),
        "usr/bin/cilium-agent": HERE / "cilium-image" / "cilium-agent",
        "usr/local/bin/clang": HERE / "cilium-image" / "clang",
        "opt/cni/bin/cilium-cni": program("cilium-cni", version),
        "init-container.sh": source / "images/cilium/init-container.sh",
        "install-plugin.sh": source / "plugins/cilium-cni/install-plugin.sh",
        "cni-uninstall.sh": source / "plugins/cilium-cni/cni-uninstall.sh",
    }
    links = {"usr/bin/cilium": "cilium-dbg", "cni/loopback": "/usr/lib/cni/loopback"}
    return _layer(part("cilium-agent-layer", version), files, links, {"var/lib/cilium/bpf": source / "bpf"})


def _programs(name: str, cilium: str = CILIUM_VERSION) -> Path:
    return _layer(part(f"{name}-layer", cilium), {f"usr/bin/{name}": program(name, cilium)}, {}, {})


def _layer(name: str, files: Mapping[str, Path], links: Mapping[str, str], folders: Mapping[str, Path]) -> Path:
    def build(folder: Path) -> None:
        root = folder / "root"
        for target, origin in folders.items():
            shutil.copytree(origin, root / target)
        for target, origin in files.items():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin, root / target)
            (root / target).chmod(0o755)
        for target, text in links.items():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            (root / target).symlink_to(text)
        archive.layer(root, folder / "layer.tar")
        shutil.rmtree(root)

    # Programs and modules lie in folders named after their content or version; only our own files must be read.
    own = [path for path in files.values() if path.is_relative_to(HERE)]
    inputs: list[str | Path] = [str(files), str(links), str(folders), *own, Path(archive.__file__)]
    return store.make(name, inputs, "5 s", build) / "layer.tar"
