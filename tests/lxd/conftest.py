"""A real LXD behind a real sshd, with a project, a subnet, an image and keys of the tests' own."""

import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

Query = Callable[..., Any]
PROJECT = "cilium-bgp-test"
IMAGE = "cilium-bgp-test-busybox"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBAF test"
INITTAB = """\
::sysinit:/etc/rc
::respawn:/bin/sleep 1000000
::shutdown:/bin/true
"""
RC = """\
#!/bin/sh
mkdir -p /run
hostname node
ip link set lo up
udhcpc -b -i eth0 -s /etc/udhcpc >/dev/null 2>&1
"""
UDHCPC = """\
#!/bin/sh
[ "$1" = bound ] && ip address add "$ip/$mask" dev "$interface"
exit 0
"""
CLOUD_INIT = """\
#!/bin/sh
# Pretends to be cloud-init: says what the instance's configuration tells it to say.
[ -f /run/seen ] || { touch /run/seen; echo 'status: running'; exit 0; }
cat /etc/cloud-status 2>/dev/null || echo 'status: done'
"""


def lxc(*arguments: str) -> str:
    return subprocess.run(["lxc", *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="session", name="query")
def _query() -> Query:
    return query


def query(method: str, path: str, body: object = None) -> Any:
    """The API as LXD's own client sees it: tests look at effects through it, not through what they test."""
    data = [] if body is None else ["--data", json.dumps(body)]
    return json.loads(lxc("query", "--wait", "--request", method, *data, f"/1.0/{path}") or "null")


@pytest.fixture(scope="session", autouse=True)
def lxd_socket() -> str:
    if os.geteuid() != 0:
        pytest.skip("only root can start instances on an LXD of its own")
    for path in ("/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket"):
        if Path(path).exists():
            return path
    pytest.skip("no LXD here: run scripts/setup-lxd start")


@pytest.fixture(scope="session")
def subnet() -> str:
    """First three parts of a /24 that nothing on this machine uses."""
    routes = subprocess.run(["ip", "-4", "route"], check=True, capture_output=True, text=True).stdout
    return next(net for net in (f"10.231.{third}" for third in range(77, 99)) if net not in routes)


@pytest.fixture(scope="session")
def private_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="session")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory, private_key: asyncssh.SSHKey, lxd_socket: str
) -> Iterator[dict[str, Any]]:
    """A real sshd on loopback."""
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("no sshd here: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key.write_private_key(folder / "host")
    (folder / "host").chmod(0o600)
    (folder / "authorized_keys").write_bytes(private_key.export_public_key())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", folder / "config", "-E", folder / "log"]) as sshd:
        for _ in range(50):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield {
            "host": "127.0.0.1",
            "port": float(port),
            "user": "root",
            "privateKey": private_key.export_private_key().decode(),
            "hostKey": host_key.export_public_key().decode().strip(),
            "socket": lxd_socket,
            "project": PROJECT,
        }
        sshd.terminate()


@pytest.fixture(scope="session")
def project(lxd_socket: str) -> Iterator[str]:
    """An LXD project that shares only images with the default one."""
    sweep()
    query("POST", "projects", {"name": PROJECT, "config": {"features.images": "false", "features.profiles": "true"}})
    yield PROJECT
    sweep()


def sweep() -> None:
    """Remove what tests made, and what a killed run of them left."""
    if f"/1.0/projects/{PROJECT}" not in query("GET", "projects"):
        return
    for url in query("GET", f"instances?project={PROJECT}"):
        path = url.removeprefix("/1.0/")
        name = path.split("/")[1].partition("?")[0]
        query("PATCH", f"instances/{name}?project={PROJECT}", {"config": {"security.protection.delete": "false"}})
        lxc("delete", "--force", "--project", PROJECT, name)
    for url in query("GET", f"profiles?project={PROJECT}"):
        if "/profiles/default" not in url:
            query("DELETE", url.removeprefix("/1.0/").partition("?")[0] + f"?project={PROJECT}")
    query("PUT", f"profiles/default?project={PROJECT}", {"config": {}, "devices": {}})
    for kind in ("networks", "storage-pools"):
        for url in query("GET", kind):
            if "/cbtest" in url:
                query("DELETE", url.removeprefix("/1.0/"))
    query("DELETE", f"projects/{PROJECT}")


@pytest.fixture(scope="session")
def image(project: str) -> Iterator[str]:
    """A container image of busybox, which runs as init, asks for an address, and has a host key."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no /bin/busybox to make an image of: apt-get install busybox-static")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:

        def add(name: str, content: bytes, mode: int = 0o755) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))

        add("metadata.yaml", b"architecture: x86_64\ncreation_date: 1700000000\nproperties: {description: test}\n")
        for folder in ("proc", "sys", "dev", "run", "root", "tmp"):
            member = tarfile.TarInfo(f"rootfs/{folder}")
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        add("rootfs/bin/busybox", busybox.read_bytes())
        for applet in [f"bin/{applet}" for applet in applets if applet != "busybox"] + ["sbin/init"]:
            link = tarfile.TarInfo(f"rootfs/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(link)
        add("rootfs/etc/inittab", INITTAB.encode())
        add("rootfs/etc/rc", RC.encode())
        add("rootfs/etc/udhcpc", UDHCPC.encode())
        add("rootfs/etc/ssh/ssh_host_ed25519_key.pub", HOST_KEY.encode(), 0o644)
        add("rootfs/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        add("rootfs/etc/group", b"root:x:0:\n", 0o644)
        add("rootfs/usr/bin/cloud-init", CLOUD_INIT.encode())
    path = Path("/tmp") / f"{IMAGE}-{os.getpid()}.tar.gz"
    path.write_bytes(archive.getvalue())
    try:
        if IMAGE in lxc("image", "list", "--format", "csv", "--columns", "l"):
            lxc("image", "delete", IMAGE)
        lxc("image", "import", str(path), "--alias", IMAGE)
    finally:
        path.unlink()
    yield f"local:{IMAGE}"
    lxc("image", "delete", IMAGE)
