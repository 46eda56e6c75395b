"""What is seen of an instance from outside through LXD's API: addresses, cloud-init, the SSH host key."""

import re
from urllib.parse import urlparse

from .client import Json, Lxd, LxdError, MissingError, RetryError

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
# --long is the one format that every version of cloud-init has.
CLOUD_INIT = "command -v cloud-init >/dev/null || { echo 'status: absent'; exit; }; cloud-init status --long 2>&1"


def addresses(lxd: Lxd, live: Json) -> Json:
    """First global IPv4 address and the MAC of the instance's own network devices, "" where there is none.

    Other interfaces inside (Cilium's, a container engine's) have global addresses too: they do not count.
    """
    state, _ = lxd.get("instances", live["name"], "state")
    interfaces = (state or {}).get("network") or {}
    found = {"ipv4_address": "", "mac_address": ""}
    for device, settings in live["expanded_devices"].items():
        name = settings.get("name") or live["config"].get(f"volatile.{device}.name", device)
        if settings["type"] != "nic" or found["ipv4_address"]:
            continue
        found["mac_address"] = live["config"].get(f"volatile.{device}.hwaddr") or settings.get("hwaddr", "")
        for address in interfaces.get(name, {}).get("addresses", []):
            if address["family"] == "inet" and address["scope"] == "global":
                found["ipv4_address"] = address["address"]
                break
    return found


def await_ipv4(lxd: Lxd, name: str) -> None:
    while True:
        live, _ = lxd.get("instances", name)
        if live is None:
            raise LxdError("it is gone")
        if addresses(lxd, live)["ipv4_address"]:
            return
        lxd.pause("an IPv4 address on a network device", f"none, status {live['status']}")


def await_cloud_init(lxd: Lxd, name: str) -> None:
    """Wait until cloud-init has ended; an image without it passes. Errors: it ended in error."""
    while True:
        try:
            report = run(lxd, name, ["sh", "-c", CLOUD_INIT])
        except RetryError as again:
            report = str(again)
        found = re.search(r"^status: *(.+)$", report, re.MULTILINE)
        status = found[1].strip() if found else " ".join(report.split())[-200:] or "no answer"
        if status.endswith(("done", "disabled", "absent")):
            return
        if status == "error":
            detail = "; ".join(line.strip() for line in report.splitlines() if line.strip())
            raise LxdError(f"cloud-init ended in error ({detail}); see /var/log/cloud-init-output.log in the instance")
        lxd.pause("cloud-init to end", status)


def host_key(lxd: Lxd, name: str) -> str:
    """The public SSH host key as "ssh-ed25519 AAAA…", "" while there is none."""
    try:
        return " ".join(lxd.text("instances", name, "files", path=HOST_KEY).split()[:2])
    except (MissingError, RetryError):
        return ""


def await_host_key(lxd: Lxd, name: str) -> None:
    while not host_key(lxd, name):
        lxd.pause(HOST_KEY, "no such file")


AWAIT = {"ipv4": await_ipv4, "cloud-init": await_cloud_init, "ssh-host-key": await_host_key}


def run(lxd: Lxd, name: str, command: list[str]) -> str:
    """Run a command and give what it wrote. Recorded by LXD: no websocket, nothing to keep open over the tunnel."""
    body = {"command": command, "wait-for-websocket": False, "record-output": True, "interactive": False}
    done = lxd.send("post", "instances", name, "exec", body=body)
    written = ""
    for log in (done.get("output") or {}).values():
        path = urlparse(log).path.removeprefix("/1.0/").split("/")
        written += lxd.text(*path)
        lxd.send("delete", *path)
    return written
