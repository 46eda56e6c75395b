"""The internet of the lab: one machine that answers, over TLS, for the names that the program's defaults point to.

- cloud-images.ubuntu.com: Ubuntu's image server for LXD (simplestreams), whose images, 22.04 and 24.04, are both the
  lab's node, described differently: two images for LXD
- raw.githubusercontent.com and get.k3s.io: k3s's installer, a stand-in; the playbook of tests/ansible asks the latter
- github.com: the releases of k3s, in the place where the official installer looks; what is in them is a stand-in around
  real Kubernetes programs
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab import authority, images, machine, serve, store, systems
from lab.machine import Machine
from lab.programs import K3S_NEXT, K3S_VERSION, program
from lab.systems import System
from settings import versions

ADDRESS = "10.26.22.2"
RELEASES = {"22.04": "jammy", "24.04": "noble"}
HERE = Path(__file__).resolve().parent
INSTALLER = HERE / "k3s" / "install.sh"
_ASKED = urlsplit(versions.K3S_INSTALLER)
_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
_OWN = {"k3s": "k3s.py", "coredns.yaml": "coredns.yaml", "traefik.yaml": "traefik.yaml"}


def installer() -> str:
    """`k3s.installerUrl`: where the program's default points to, with what is there here."""
    return _ASKED._replace(fragment=f"sha256={_sha256(INSTALLER)}").geturl()


def start() -> Machine:
    """The machine, serving what the present parts say."""
    folder = site()
    tls = authority.server()
    # The folder above the site: a machine that runs sees a site that was built since.
    disks = {"/srv/sites": folder.parent, "/srv/tls": tls[0].parent, "/srv/lab": Path(serve.__file__).parent}
    internet = machine.make("internet", "host", ADDRESS, disks)
    served = [f"/srv/sites/{folder.name}", *(f"/srv/tls/{path.name}" for path in tls)]
    unit = f"[Service]\nRestart=always\nExecStart=/usr/bin/python3 /srv/lab/serve.py {' '.join(served)}\n"
    internet.run("sh", "-c", "cat >/etc/systemd/system/internet.service", stdin=unit)
    internet.run("systemctl", "daemon-reload")
    internet.run("systemctl", "restart", "internet")
    return internet


def site() -> Path:
    """A folder for each name."""
    node, archive = systems.build("node"), images.build()
    built = {name: program(name) for name in _PROGRAMS} | {images.ARCHIVE: archive}

    def write(folder: Path) -> None:
        for path in (folder / "get.k3s.io/index.html", folder / _ASKED.netloc / unquote(_ASKED.path[1:])):
            path.parent.mkdir(parents=True)
            shutil.copyfile(INSTALLER, path)
        for version in (K3S_VERSION, K3S_NEXT):
            release = folder / "github.com/k3s-io/k3s/releases/download" / version
            release.mkdir(parents=True)
            for name, source in _OWN.items():
                (release / name).write_text((HERE / "k3s" / source).read_text().replace(K3S_VERSION, version))
            for name, path in built.items():
                os.link(path, release / name)
            sums = [f"{_sha256(path)}  {path.name}\n" for path in sorted(release.iterdir())]
            (release / "sha256sum-amd64.txt").write_text("".join(sums))
        _image_server(folder / "cloud-images.ubuntu.com" / "releases", node)

    return store.make("site", [str(built), str(node), HERE / "k3s", Path(__file__)], "5 s", write)


def _image_server(folder: Path, node: System) -> None:
    """As LXD reads it: canonical/lxd, shared/simplestreams."""
    (folder / "streams/v1").mkdir(parents=True)
    os.link(node.root, folder / node.root.name)
    products = {}
    for version, release in RELEASES.items():
        metadata = folder / f"{version}.tar.xz"
        systems.describe(metadata, f"node ({version})")
        items = {
            name: {"ftype": kind, "path": path.name, "sha256": _sha256(path), "size": path.stat().st_size}
            for name, kind, path in (
                ("lxd.tar.xz", "lxd.tar.xz", metadata),
                ("root.squashfs", "squashfs", folder / node.root.name),
            )
        }
        items["lxd.tar.xz"]["combined_squashfs_sha256"] = _sha256(metadata, node.root)
        products[f"com.ubuntu.cloud:server:{version}:amd64"] = {
            "aliases": f"{version},{release[0]},{release}",
            "arch": "amd64",
            "os": "ubuntu",
            "release": release,
            "release_title": f"{version} (a stand-in of the lab)",
            "version": version,
            "versions": {"20260101": {"label": "release", "pubname": "lab", "items": items}},
        }
    download = "streams/v1/com.ubuntu.cloud:released:download.json"
    stream = {
        "format": "products:1.0",
        "datatype": "image-downloads",
        "content_id": "com.ubuntu.cloud:released:download",
    }
    (folder / download).write_text(json.dumps(stream | {"products": products}))
    entry = {"datatype": "image-downloads", "format": "products:1.0", "path": download, "products": list(products)}
    index = {"format": "index:1.0", "index": {"com.ubuntu.cloud:released:download": entry}}
    (folder / "streams/v1/index.json").write_text(json.dumps(index))


def _sha256(*paths: Path) -> str:
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()
