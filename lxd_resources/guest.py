"""What is seen and written of an instance from outside through LXD's API: addresses, cloud-init, files."""

import re
from urllib.parse import urlparse

from .client import Json, Lxd
from .errors import LxdError, MissingError, RetryError

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
        # It keeps the one that it has had until its lease ends.
        fixed = [device["ipv4.address"] for device in live["expanded_devices"].values() if "ipv4.address" in device]
        seen = addresses(lxd, live)["ipv4_address"]
        if seen and seen in (fixed or [seen]):
            return
        wanted = fixed[0] if fixed else "an IPv4 address"
        lxd.pause(f"{wanted} on a network device", f"{seen or 'none'}, status {live['status']}")


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
    return " ".join(read(lxd, name, HOST_KEY).split()[:2])


def await_host_key(lxd: Lxd, name: str) -> None:
    while not host_key(lxd, name):
        lxd.pause(HOST_KEY, "no such file")


def read(lxd: Lxd, name: str, path: str) -> str:
    """A file's content, "" while there is none."""
    try:
        return lxd.text("instances", name, "files", path=path)
    except (MissingError, RetryError):
        return ""


def write(lxd: Lxd, name: str, path: str, text: str) -> None:
    """Replace a file, for its owner alone: the one it has, or its folder's. Errors: there is no such folder."""
    place = ("instances", name, "files")
    try:
        owner = lxd.owner(*place, path=path)
    except MissingError:
        folder = path.rpartition("/")[0]
        try:
            owner = lxd.owner(*place, path=folder)
        except MissingError:
            raise LxdError(f"there is no {folder} in it; has its image that user (lxd.loginUser)?") from None
    lxd.write(text, {**owner, "X-LXD-mode": "0600", "X-LXD-write": "overwrite"}, *place, path=path)


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
