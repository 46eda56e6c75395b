"""What of this machine the lab could leave changed, as its own tools tell."""

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import gettempdir
from typing import Any

CONFIGURATION = (
    "/etc/frr",
    "/etc/sysctl.d",
    "/etc/modules-load.d",
    "/etc/systemd/system",
    "/var/lib/cilium-bgp",
    "/root/.ssh",
)
SYSCTLS = ("fs.inotify.max_user_instances", "fs.inotify.max_user_watches", "net.ipv4.ip_nonlocal_bind")
DAEMONS = (
    "sshd",
    "bgpd",
    "zebra",
    "watchfrr",
    "staticd",
    "etcd",
    "kube-apiserver",
    "kubelet",
    "cilium-agent",
    "dnsmasq",
)


def output(*command: str, seconds: float = 60) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def parsed(*command: str) -> Any:
    return json.loads(output(*command))


def processes() -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                found.append((process / "comm").read_text().strip())
            except OSError:
                continue
    return sorted(name for name in found if name in DAEMONS)


def files() -> dict[str, bytes]:
    """Content of configuration files, but for those that are as a package has brought them: packages stay installed."""
    found = [path for folder in CONFIGURATION for path in Path(folder).rglob("*") if path.is_file()]
    owned = said("dpkg", "-S", *map(str, found))
    packaged = {line.partition(": ")[2] for line in owned.splitlines()}
    changed = {line.split()[-1] for line in said("dpkg", "--verify", "frr").splitlines()}
    return {
        str(path): path.read_bytes()
        for path in sorted(found)
        if not path.is_symlink() and (str(path) not in packaged or str(path) in changed)
    }


def said(*command: str) -> str:
    """Standard output, however the command ends; nothing where there is no such command."""
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def snapshot() -> dict[str, Any]:
    """Taken twice, equal if nothing was left; a dict for a readable difference."""
    return {
        "routes": output("ip", "-4", "route").splitlines(),
        "rules": output("ip", "-4", "rule").splitlines(),
        "links": sorted(link["ifname"] for link in parsed("ip", "-json", "link")),
        "mounts": sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "nftables": said("nft", "list", "tables").splitlines(),
        "iptables": [rule for rule in said("iptables-save").splitlines() if rule.startswith("-A")],
        "sysctls": {name: Path("/proc/sys", *name.split(".")).read_text() for name in SYSCTLS},
        "processes": processes(),
        "files": files(),
        "temporary": sorted(str(path) for path in Path(gettempdir()).glob("kubeconfig-*")),
    }
