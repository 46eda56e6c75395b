"""What of the machine that carries the lab could be changed by it, as its own tools tell."""

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from lab import machine

# They move by themselves, or count what is there.
_MOVING = re.compile(
    r"fs/(aio-nr|dentry-state|file-nr|inode-nr|inode-state|quota)|kernel/(ns_last_pid|random|pty/nr|perf_event)"
    r"|net/netfilter/nf_conntrack_count|net/ipv4/(conf|neigh)/(?!all|default)|net/ipv6/(conf|neigh)/(?!all|default)"
    # LXD's own doing, with its first bridge.
    r"|net/ipv[46]/(ip_forward|conf/(all|default)/(forwarding|mc_forwarding))"
)


def output(*command: str, seconds: float = 60) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def parsed(*command: str) -> Any:
    return json.loads(output(*command))


def readings(folder: str) -> dict[str, str]:
    """A digest of every file below a folder, or the target of a link."""
    found = {}
    for path in Path(folder).rglob("*"):
        name = str(path)
        try:
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:  # some sysctls are only written
            continue
    return found


def standing() -> dict[str, Any]:
    """What is the same before, during and after a lab: routes but for the lab's bridge, sysctls, and configuration."""
    sysctls = readings("/proc/sys")
    return {
        "routes": [route for route in output("ip", "-4", "route").splitlines() if machine.BRIDGE not in route],
        "rules": output("ip", "-4", "rule").splitlines(),
        "sysctls": {name: value for name, value in sysctls.items() if not _MOVING.search(name)},
        "files": readings("/etc") | readings("/root/.ssh") | readings("/var/lib/cilium-bgp"),
        "listening": output("ss", "-Hltn", f"not src {machine.SUBNET} and not src 127.0.0.0/8").splitlines(),
    }


def passing() -> dict[str, Any]:
    """What is there while a lab is, and must be gone afterwards."""
    return {
        "links": sorted(link["ifname"] for link in parsed("ip", "-json", "link")),
        "mounts": sorted(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        "rules of the firewall": [line for line in output("iptables-save").splitlines() if line.startswith("-A")],
        "processes": [each.name for each in Path("/proc").iterdir() if _of_the_lab(each / "cgroup")],
        "LXD's": {
            kind: sorted(each["name"] for each in parsed("lxc", kind, "list", "--format=json"))
            for kind in ("project", "storage", "network")
        },
    }


def _of_the_lab(cgroup: Path) -> bool:
    try:
        return f"{machine.PROJECT}_" in cgroup.read_text()
    except OSError:  # it has ended, or is no process
        return False
