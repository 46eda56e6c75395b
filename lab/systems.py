"""The systems of the lab's machines, as LXD images: Debian with systemd.

`host` is what a person has who has just installed a server: sshd and python3, but no LXD, no FRR, no curl. `prepared`
is the same with what the program would install, and with UFW, which is off. `node` stands for Ubuntu's image for LXD:
its login user is `ubuntu`. All trust the lab's own authority, and none changes a sysctl of the machine that it runs on.
"""

import io
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lab import authority, debian, store

HERE = Path(__file__).resolve().parent

_SYSTEM = [
    *("systemd-sysv", "dbus", "udev", "ifupdown", "isc-dhcp-client", "iproute2", "iputils-ping", "netbase", "procps"),
    *("openssh-server", "sudo", "ca-certificates", "kmod", "python3", "python3-apt"),
]
_INSTALLED = [
    *("curl", "lxd", "lxd-client", "dnsmasq-base", "squashfs-tools", "uidmap"),
    *("frr", "frr-pythontools", "haproxy", "nftables", "ufw"),
]
_NODE = [
    *("cloud-init", "curl", "jq", "openssl", "etcd-server", "etcd-client"),
    *("containerd", "runc", "iptables", "ipset", "ebtables", "ethtool", "socat", "conntrack"),
]

# Each is run in the host with the root file system as $1.
_EVERYWHERE = r"""
set -eu
root=$1
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname"
: >"$root/etc/machine-id"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
chroot "$root" systemctl --quiet mask systemd-binfmt
cat >"$root/usr/local/share/ca-certificates/cilium-bgp-lab.crt" <<'CERTIFICATE'
@AUTHORITY@CERTIFICATE
chroot "$root" update-ca-certificates >/dev/null
cat >"$root/usr/local/sbin/lab-machine" <<'SCRIPT'
@MACHINE@SCRIPT
chmod 755 "$root/usr/local/sbin/lab-machine"
cat >"$root/etc/systemd/system/lab-machine.service" <<'UNIT'
[Unit]
Description=What a machine has for itself and a container has not (cilium-bgp lab)
DefaultDependencies=no
Before=systemd-sysctl.service lxd.socket lxd.service basic.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-machine

[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl --quiet enable lab-machine
"""
_HOST = r"""
printf 'auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n' >"$root/etc/network/interfaces"
unit=$root/etc/systemd/system/ssh.service.d
mkdir "$unit"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n' >"$unit/lab.conf"
# Of cgroup v1's controllers that it does not use, systemd removes every empty group at a reload, that of an instance
# which is being started among them.
mkdir "$root/etc/systemd/system.conf.d"
cat >"$root/etc/systemd/system.conf.d/lab.conf" <<'MANAGER'
[Manager]
DefaultCPUAccounting=yes
DefaultMemoryAccounting=yes
DefaultTasksAccounting=yes
DefaultIOAccounting=yes
DefaultBlockIOAccounting=yes
MANAGER
"""
# cloud-init's locale step would fail for want of the package locales, and its packages' sources step would name a
# mirror that the node may not reach. k3s brings a containerd and an etcd of its own, so Debian's are not started.
_CLOUD = r"""
printf 'auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n' >"$root/etc/network/interfaces"
cat >"$root/etc/cloud/cloud.cfg.d/90-lab.cfg" <<'CLOUD'
locale: false
apt: {preserve_sources_list: true}
datasource_list: [LXD, None]
system_info: {default_user: {name: ubuntu, gecos: Ubuntu, homedir: /home/ubuntu}}
CLOUD
chroot "$root" systemctl --quiet disable containerd etcd
"""

_METADATA = """\
architecture: x86_64
creation_date: 1
properties:
  description: {name} of the cilium-bgp lab (Debian bookworm)
  os: debian
  release: bookworm
"""


@dataclass(frozen=True)
class System:
    """A split LXD image: a description, and the root file system."""

    metadata: Path
    """A tar of metadata.yaml."""
    root: Path
    """A squashfs."""


def build(name: str) -> System:
    """The image `host`, `prepared` or `node`."""
    packages, own = {
        "host": (_SYSTEM, _HOST),
        "prepared": ([*_SYSTEM, *_INSTALLED], _HOST),
        "node": ([*_SYSTEM, *_NODE], _CLOUD),
    }[name]
    everywhere = _EVERYWHERE.replace("@AUTHORITY@", authority.certificate().read_text())
    everywhere = everywhere.replace("@MACHINE@", (HERE / "machine.sh").read_text())
    command = debian.command(packages, everywhere + own)

    def write(folder: Path) -> None:
        store.install_packages({"mksquashfs": "squashfs-tools"})
        describe(folder / "lxd.tar.xz", name)
        debian.root(command, folder / "root")
        options = ["-comp", "lz4", "-noappend", "-no-progress"]
        store.run(["nice", "mksquashfs", folder / "root", folder / "rootfs.squashfs", *options])
        shutil.rmtree(folder / "root")

    made = store.make(f"system-{name}", [*command, _METADATA.format(name=name)], "60 s", write)
    return System(made / "lxd.tar.xz", made / "rootfs.squashfs")


def describe(archive: Path, name: str) -> None:
    """Write the description of an image, the same bytes for the same name."""
    content = _METADATA.format(name=name).encode()
    with tarfile.open(archive, "w:xz") as file:
        member = tarfile.TarInfo("metadata.yaml")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
