"""The Go programs of the lab, each built from a pinned module: Kubernetes, its provider, Cilium, CoreDNS, stand-ins.

Versions and modules that can be had are facts of the module registry; see the go.mod in each folder.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lab import store

HERE = Path(__file__).resolve().parent

KUBERNETES_VERSION = "v1.30.2"
CILIUM_VERSION = "1.16.19"
CILIUM_EARLIER = "1.16.17"
"""A patch release to upgrade from. Its own dependencies are no newer, so it is built with those of the other."""
K3S_VERSION = f"{KUBERNETES_VERSION}+k3s1"
K3S_NEXT = f"{KUBERNETES_VERSION}+k3s2"
"""A release to upgrade to; the stand-in calls itself so, the programs in it are the same."""

_EARLIER_SUM = HERE / "cilium-earlier.sum"
_CILIUM = "github.com/cilium/cilium"
_KUBERNETES_FLAGS = (
    f"-X k8s.io/component-base/version.gitVersion={K3S_VERSION} "
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=30"
)
# Version, revision and date: Cilium reads no version from a string of another form.
_CILIUM_FLAGS = f"-X '{_CILIUM}/pkg/version.ciliumVersion={CILIUM_VERSION} lab 1970-01-01T00:00:00Z'"
_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
PROVIDER_VERSION = metadata.version("pulumi-kubernetes")
# go.mod names the commit of release 4.25.0, as the module has no versions of its own. The engine warns of a version
# below the SDK's; what comes after the plus it shows, but does not compare.
_PROVIDER_FLAGS = f"-X {_PROVIDER}/pkg/version.Version={PROVIDER_VERSION}+release.4.25.0"


@dataclass(frozen=True)
class Program:
    module: str
    """Folder under lab/ with go.mod and go.sum."""
    package: str
    usually: str
    ldflags: str = ""
    tags: str = ""
    embeds: Sequence[str] = ()
    """What main.go embeds of another module: the module's path, and the paths of files in it."""


PROGRAMS = {
    "kube-apiserver": Program("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", "4 min", _KUBERNETES_FLAGS),
    "kube-controller-manager": Program(
        "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", "1 min", _KUBERNETES_FLAGS
    ),
    "kube-scheduler": Program("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", "10 s", _KUBERNETES_FLAGS),
    "kubelet": Program("kubernetes", "k8s.io/kubernetes/cmd/kubelet", "30 s", _KUBERNETES_FLAGS),
    "kubectl": Program("kubernetes", "k8s.io/kubernetes/cmd/kubectl", "30 s", _KUBERNETES_FLAGS),
    "cilium-agent": Program("cilium", f"{_CILIUM}/daemon", "4 min", _CILIUM_FLAGS),
    "cilium-operator-generic": Program(
        "cilium", f"{_CILIUM}/operator", "1 min", _CILIUM_FLAGS, "ipam_provider_operator"
    ),
    "cilium-cni": Program("cilium", f"{_CILIUM}/plugins/cilium-cni", "20 s", _CILIUM_FLAGS),
    "cilium-dbg": Program("cilium", f"{_CILIUM}/cilium-dbg", "30 s", _CILIUM_FLAGS),
    "cilium-mount": Program("cilium", f"{_CILIUM}/tools/mount", "5 s", _CILIUM_FLAGS),
    "cilium-sysctlfix": Program("cilium", f"{_CILIUM}/tools/sysctlfix", "5 s", _CILIUM_FLAGS),
    "cilium-health-responder": Program("cilium", f"{_CILIUM}/cilium-health/responder", "5 s", _CILIUM_FLAGS),
    "hubble-relay": Program("cilium", f"{_CILIUM}/hubble-relay", "20 s", _CILIUM_FLAGS),
    "hubble": Program("cilium", f"{_CILIUM}/hubble", "20 s", _CILIUM_FLAGS),
    "coredns": Program("coredns", ".", "1 min"),
    "pulumi-resource-kubernetes": Program(
        "provider-kubernetes",
        ".",
        "10 min",
        _PROVIDER_FLAGS,
        embeds=[_PROVIDER, *(f"cmd/pulumi-resource-kubernetes/{it}.json" for it in ("schema", "terraform-mapping"))],
    ),
    "httpd": Program("standins", "./httpd", "10 s"),
    "pause": Program("standins", "./pause", "5 s"),
}


def program(name: str, cilium: str = CILIUM_VERSION) -> Path:
    """Path of the static, stripped program `name`, built if need be; of this Cilium, if it is one of Cilium's."""
    wanted = PROGRAMS[name]
    module = HERE / wanted.module
    ldflags = wanted.ldflags.replace(CILIUM_VERSION, cilium)
    command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {ldflags}", "-tags", wanted.tags]
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}

    def build(folder: Path) -> None:
        laid_over: list[str | Path] = []
        if wanted.embeds:
            origin, *files = wanted.embeds
            beside = {str(module / Path(file).name): str(module_folder(wanted.module, origin) / file) for file in files}
            overlay = folder / "overlay.json"
            overlay.write_text(json.dumps({"Replace": beside}))
            laid_over = ["-overlay", overlay]
        if cilium != CILIUM_VERSION:
            required = (module / "go.mod").read_text().replace(f"{_CILIUM} v{CILIUM_VERSION}", f"{_CILIUM} v{cilium}")
            (folder / "go.mod").write_text(required)
            (folder / "go.sum").write_text(f"{(module / 'go.sum').read_text()}{_EARLIER_SUM.read_text()}")
            laid_over = ["-modfile", folder / "go.mod"]
        store.run(["nice", *command, *laid_over, "-o", folder / name, wanted.package], cwd=module, env=env)

    inputs: list[str | Path] = [module, *command, wanted.package, store.run(["go", "version"])]
    return store.make(part(name, cilium), inputs, wanted.usually, build) / name


def part(name: str, cilium: str) -> str:
    """What a part of the lab is called that there is for each Cilium."""
    return name if cilium == CILIUM_VERSION else f"{name}-{cilium}"


def module_folder(module: str, path: str) -> Path:
    """Read-only folder of the module `path`, in the version that lab/MODULE/go.mod pins unless it says one: PATH@vX."""
    return Path(json.loads(store.run(["go", "mod", "download", "-json", path], cwd=HERE / module))["Dir"])


def cilium_source(version: str = CILIUM_VERSION) -> Path:
    """Read-only folder of Cilium's source, its chart with it."""
    return module_folder("cilium", f"{_CILIUM}@v{version}")
