"""Machines of the lab: LXD containers with systemd, a network stack and a sshd of their own, side by side on a bridge.

Of the machine that all this runs on nothing is used but LXD: a project, a storage pool and a bridge of the lab's own.
"""

import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from lab import store, systems

PROJECT = "cilium-bgp-lab"
BRIDGE = "cbgplab0"
GATEWAY = "10.26.22.1"
SUBNET = "10.26.22.0/24"

# A machine that carries LXD containers which carry pods: the nodes' own profile, for the same reasons.
_CONFIG = {
    "security.nesting": "true",
    "security.privileged": "true",
    "raw.lxc": "lxc.apparmor.profile=unconfined\nlxc.mount.auto=proc:rw sys:rw cgroup:rw\n"
    "lxc.cgroup.devices.allow=a\nlxc.cgroup2.devices.allow=a\nlxc.cap.drop=",
}
_DEVICES = {
    "eth0": {"type": "nic", "name": "eth0", "network": BRIDGE},
    "root": {"type": "disk", "path": "/", "pool": PROJECT},
    "kmsg": {"type": "unix-char", "source": "/dev/kmsg", "path": "/dev/kmsg"},
}
# Of the lab's LXD or a host's, seldom, before it has even started a command (5.0): it is well to ask again.
_UNSTARTED = "Failed to retrieve PID"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Machine:
    name: str
    address: str
    """On the lab's bridge."""

    def run(self, *command: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Standard output of a command as root on it."""
        whole = ["lxc", "exec", "--project", PROJECT, self.name, "--", *command]
        for _ in range(_ATTEMPTS):
            try:
                done = subprocess.run(whole, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
            except subprocess.TimeoutExpired:
                raise store.BuildError(f"{' '.join(command)} on {self.name} did not end within {seconds:g} s") from None
            if _UNSTARTED not in done.stderr:
                break
        if done.returncode:
            raise store.BuildError(
                f"{' '.join(command)} on {self.name} ended with {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command))

    def restart(self) -> None:
        """As by its power button: nothing on it is asked to stop."""
        _lxc("restart", "--force", self.name)

    def stop(self) -> None:
        _lxc("stop", "--force", self.name)

    def start(self) -> None:
        _lxc("start", self.name)

    def await_ready(self, seconds: float = 90) -> None:
        """Wait until it has its address and a sshd."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.run(
                    "sh", "-c", f"ip -4 -o address show dev eth0 | grep -q ' {self.address}/' && ss -Hltn | grep -q :22"
                )
            except store.BuildError as error:
                if time.monotonic() > end:
                    raise store.BuildError(f"{self.name} is not up after {seconds:g} s: {error}") from None
                time.sleep(0.5)
            else:
                return

    def host_key(self) -> str:
        """Its public SSH host key, `ssh-ed25519 BASE64`."""
        return " ".join(self.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def let_in(self, public_key: str) -> None:
        """Let the owner of a key in as root."""
        self.run("install", "-d", "-m", "700", "/root/.ssh")
        self.run("sh", "-c", "umask 077; cat >/root/.ssh/authorized_keys", stdin=public_key)


def network(names: Iterable[str], at: str) -> None:
    """The project, the pool and the bridge, on which `names` are those of the machine with address `at`."""
    if PROJECT not in _listed("project"):
        _lxc("project", "create", PROJECT, "-c", "features.images=true", "-c", "features.profiles=true", project="")
    if PROJECT not in _listed("storage"):
        _lxc("storage", "create", PROJECT, "dir", project="")
    answers = "\n".join(f"address=/{name}/{at}" for name in names)
    config = {"ipv4.address": f"{GATEWAY}/24", "ipv4.nat": "true", "ipv6.address": "none", "raw.dnsmasq": answers}
    if BRIDGE not in _listed("network"):
        _lxc("network", "create", BRIDGE, *(f"{key}={value}" for key, value in config.items()), project="")
    _lxc("profile", "edit", "default", stdin=json.dumps({"config": _CONFIG, "devices": _DEVICES}))


def make(
    name: str, system: str, address: str, disks: Mapping[str, Path] | None = None, *, bridge: str = BRIDGE
) -> Machine:
    """A running machine of a system of `lab.systems`, made unless it is there. `disks`: folders by where it sees them,
    read-only."""
    machine = Machine(name, address)
    if name not in machines():
        nic = ("--device", f"eth0,network={bridge}", "--device", f"eth0,ipv4.address={address}")
        _lxc("init", _image(system), name, *nic)
        for path, source in (disks or {}).items():
            device = path.strip("/").replace("/", "-")
            _lxc("config", "device", "add", name, device, "disk", f"source={source}", f"path={path}", "readonly=true")
    if machines()[name] != "Running":
        machine.start()
    machine.await_ready()
    return machine


def another_network(bridge: str, gateway: str) -> None:
    """A bridge beside the lab's own, from which nothing is masqueraded, unless it is there."""
    if bridge not in _listed("network"):
        config = {"ipv4.address": gateway, "ipv4.nat": "false", "ipv6.address": "none"}
        _lxc("network", "create", bridge, *(f"{key}={value}" for key, value in config.items()), project="")


def plug_in(machine: Machine, bridge: str, interface: IPv4Interface) -> None:
    """A second network card, unless it is there."""
    if "eth1" not in _lxc("config", "device", "list", machine.name).split():
        nic = ("nic", "name=eth1", f"network={bridge}", f"ipv4.address={interface.ip}")
        _lxc("config", "device", "add", machine.name, "eth1", *nic)
    machine.run("ip", "link", "set", "eth1", "up")
    machine.run("ip", "address", "replace", str(interface), "dev", "eth1")


def machines() -> dict[str, str]:
    """Status by name."""
    return {each["name"]: each["status"] for each in json.loads(_lxc("list", "--format=json"))} if there() else {}


def there() -> bool:
    return PROJECT in _listed("project")


def remove(name: str) -> None:
    _lxc("delete", "--force", name)


def remove_network(bridge: str) -> None:
    if bridge in _listed("network"):
        _lxc("network", "delete", bridge, project="")


def remove_all() -> None:
    """Machines, images, bridge, pool and project, whichever are there."""
    if there():
        for name in machines():
            remove(name)
        for image in json.loads(_lxc("image", "list", "--format=json")):
            _lxc("image", "delete", image["fingerprint"])
        _lxc("profile", "edit", "default", stdin=json.dumps({"config": {}, "devices": {}}))
    remove_network(BRIDGE)
    for kind, name in (("storage", PROJECT), ("project", PROJECT)):
        if name in _listed(kind):
            _lxc(kind, "delete", name, project="")


def _image(name: str) -> str:
    """Alias of a system's image in the lab's project, imported unless it is there with this content."""
    system = systems.build(name)
    alias = f"{name}-{system.root.parent.name}"
    if alias not in [each["name"] for each in json.loads(_lxc("image", "alias", "list", "--format=json"))]:
        _lxc("image", "import", str(system.metadata), str(system.root), f"--alias={alias}")
    return alias


def _listed(kind: str) -> list[str]:
    return [each["name"] for each in json.loads(_lxc(kind, "list", "--format=json", project=""))]


def _lxc(*arguments: str, project: str = PROJECT, stdin: str | None = None) -> str:
    command = ["lxc", *(["--project", project] if project else []), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise store.BuildError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
