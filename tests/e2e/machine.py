"""What of this machine the lab could leave changed, as its own tools tell."""

import json
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


def lxd() -> dict[str, list[str]]:
    """Names of all that LXD has, by kind."""
    if subprocess.run(["lxc", "query", "/1.0"], capture_output=True, timeout=30, check=False).returncode:
        return {}
    kinds = (
        "projects",
        "instances?all-projects=true",
        "profiles?all-projects=true",
        "networks",
        "storage-pools",
        "images",
    )
    return {kind: sorted(parsed("lxc", "query", f"/1.0/{kind}")) for kind in kinds}


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
    return {
        str(path): path.read_bytes()
        for folder in CONFIGURATION
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def snapshot() -> dict[str, Any]:
    """Taken twice, equal if nothing was left; a dict for a readable difference."""
    return {
        "routes": output("ip", "-4", "route").splitlines(),
        "rules": output("ip", "-4", "rule").splitlines(),
        "links": sorted(link["ifname"] for link in parsed("ip", "-json", "link")),
        "mounts": sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "nftables": output("nft", "list", "tables").splitlines() if Path("/usr/sbin/nft").exists() else [],
        "iptables": [rule for rule in output("iptables-save").splitlines() if rule.startswith("-A")],
        "sysctls": {name: Path("/proc/sys", *name.split(".")).read_text() for name in SYSCTLS},
        "processes": processes(),
        "files": files(),
        "temporary": sorted(str(path) for path in Path(gettempdir()).glob("kubeconfig-*")),
    }
