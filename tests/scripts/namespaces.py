"""A host in namespaces of its own, with the nodes' bridge, the LAN, and machines on both: real, and gone with it.

Needs root. Nothing of the machine's own network, processes or files is touched.
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from components.remote import Script
from tests.scripts.machine import composed

GATEWAY = "10.26.23.1"
# As Cilium's masquerading: a pod leaves with its node's address.
BEHIND = "table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }"
SETUP = """
set -e
for folder in etc var usr/local; do
    mkdir -p $ROOT/$folder $ROOT/work/$folder
    mount -t overlay -o lowerdir=/$folder,upperdir=$ROOT/$folder,workdir=$ROOT/work/$folder none /$folder
done
mount -t tmpfs none /run
# As the packages leave it, whatever this machine does with its own.
rm -rf /var/lib/cilium-bgp /etc/cilium-bgp /usr/local/lib/cilium-bgp /etc/sysctl.d/60-cilium-bgp*
ip link set lo up
ip link add lxdbr0 type bridge
ip address add 10.26.23.1/24 dev lxdbr0
ip link set lxdbr0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
"""
STAY = """
echo ready
while :; do sleep 60; done # and as the namespace's init it reaps daemons
"""


class Host:
    """Serves until it is closed."""

    def __init__(self, root: Path, setup: str = "") -> None:
        self.root = root
        command = ["unshare", "-mnp", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP + setup + STAY]
        self.holder = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ROOT": str(root)}
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text()
        self.enter = ["nsenter", "-t", children.split()[0], "-m", "-n", "-p", "--"]

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter, *command], input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def output(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def script(self, file: str, *parameters: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", composed(Script(file, parameters, 100)), stdin=stdin)

    def machine(self, name: str, address: str, gateway: str, on: str = "") -> None:
        """A machine with one interface: on the host's bridge `on`, else by a cable of its own to the gateway's machine.

        `gateway` is ADDRESS, the host's, or NAME=ADDRESS, another machine's.
        """
        owner, _, router = gateway.rpartition("=")
        inside = ["ip", "-n", owner] if owner else ["ip"]
        self.output("ip", "netns", "add", name)
        self.output(*inside, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        if on:
            self.output(*inside, "link", "set", name, "master", on)
        else:
            self.output(*inside, "address", "add", f"{router}/24", "dev", name)
        self.output(*inside, "link", "set", name, "up")
        for words in (
            ("address", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", router),
        ):
            self.output("ip", "-n", name, *words)

    def on(self, name: str, *command: str) -> list[str]:
        """The command that runs a command on a machine, or on the host (\"\")."""
        return ["ip", "netns", "exec", name, *command] if name else list(command)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)
