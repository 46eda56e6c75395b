"""The image of the lab's nodes, for LXD: Debian with systemd, sshd, cloud-init and what a Kubernetes node needs.

usage: python -m lab.node [PROJECT]     import it into LXD (project `default`) under the alias cilium-bgp-node
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from lab import debian, store

ALIAS = "cilium-bgp-node"

_PACKAGES = [
    *("systemd-sysv", "dbus", "udev", "ifupdown", "isc-dhcp-client", "iproute2", "iputils-ping", "netbase", "procps"),
    *("openssh-server", "sudo", "cloud-init", "ca-certificates", "curl", "jq", "openssl"),
    *("containerd", "runc", "iptables", "ipset", "ebtables", "ethtool", "socat", "conntrack", "kmod", "etcd-server"),
]

# Run in the host with the root file system as $1. cloud-init's locale step would fail for want of the package locales,
# and its packages' sources step would name a mirror that the node may not reach. k3s brings a containerd and an etcd of
# its own, so Debian's are not started.
_CUSTOMIZE = r"""
set -eu
printf 'locale: false\napt: {preserve_sources_list: true}\n' >"$1/etc/cloud/cloud.cfg.d/90-lab.cfg"
printf 'datasource_list: [LXD, None]\n' >"$1/etc/cloud/cloud.cfg.d/91-lab-datasource.cfg"
printf 'auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n' >"$1/etc/network/interfaces"
chroot "$1" systemctl --quiet disable containerd etcd
chroot "$1" systemctl --quiet mask systemd-binfmt
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname"
: >"$1/etc/machine-id"
"""

_METADATA = """\
architecture: x86_64
creation_date: 1
properties:
  description: node of the cilium-bgp lab (Debian bookworm)
  os: debian
  release: bookworm
"""


def build() -> tuple[Path, Path]:
    """Paths of metadata and root file system, the two files of a split LXD image."""
    command = debian.command(_PACKAGES, _CUSTOMIZE)

    def write(folder: Path) -> None:
        store.install_packages({"mksquashfs": "squashfs-tools"})
        (folder / "metadata.yaml").write_text(_METADATA)
        store.run(["tar", "-C", folder, "-czf", folder / "metadata.tar.gz", "metadata.yaml"])
        debian.root(command, folder / "root")
        options = ["-comp", "lz4", "-noappend", "-no-progress"]
        store.run(["nice", "mksquashfs", folder / "root", folder / "rootfs.squashfs", *options])
        shutil.rmtree(folder / "root")

    made = store.make("node-image", [*command, _METADATA], "80 s", write)
    return made / "metadata.tar.gz", made / "rootfs.squashfs"


def import_into(project: str) -> str:
    """Fingerprint of the image in LXD's `project`, imported unless it is there under ALIAS with this content."""
    files = build()
    total = hashlib.sha256()
    for path in files:
        total.update(path.read_bytes())
    fingerprint = total.hexdigest()
    lxc = ["lxc", "--project", project, "image"]
    images = json.loads(store.run([*lxc, "list", "--format", "json"]))
    for image in images:
        aliases = [alias["name"] for alias in image["aliases"]]
        if ALIAS in aliases and image["fingerprint"] == fingerprint:
            return fingerprint
        if ALIAS in aliases:
            store.run([*lxc, "delete", image["fingerprint"]])
    store.say(f"importing the node image into LXD's project {project} …")
    store.run([*lxc, "import", *files, f"--alias={ALIAS}"])
    return fingerprint


def remove_from(project: str) -> None:
    """Remove the image from LXD's `project`, if LXD answers and has it."""
    listed = subprocess.run(
        ["lxc", "--project", project, "image", "list", "--format=json"], capture_output=True, text=True, check=False
    )
    for image in json.loads(listed.stdout or "[]"):
        if ALIAS in [alias["name"] for alias in image["aliases"]]:
            store.run(["lxc", "--project", project, "image", "delete", image["fingerprint"]])


if __name__ == "__main__":
    try:
        import_into(*sys.argv[1:2] or ["default"])
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
