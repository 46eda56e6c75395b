"""Where Hubble is seen."""

import json
from collections.abc import Sequence
from typing import TypedDict

import pulumi

from components import remote
from components.node import ControlPlane
from components.remote import Script

PORTS = {"kube-system/hubble-relay": 4245, "kube-system/hubble-ui": 12000}
"""The port on your own machine for each Service: what the `hubble` and `cilium` commands use."""


class HubbleArgs(TypedDict):
    services: Sequence[str]
    """Those of relay and UI that are LoadBalancers, as "namespace/name"."""
    pool: str
    """CIDR of the LoadBalancer addresses."""
    server: ControlPlane
    """For kubectl."""
    ssh: pulumi.Input[str]
    """The ssh command to the host, which has learned the addresses."""
    rests_on: pulumi.Input[str]
    """Known once relay and UI run; another value asks again."""
    timeout_seconds: int
    """How long the addresses may take."""


class Hubble(pulumi.ComponentResource):
    """Addresses of relay and UI, and the lines that bring them to your own machine."""

    addresses: pulumi.Output[dict[str, str]]
    """By "namespace/name"."""
    ssh_commands: dict[str, pulumi.Output[str]]
    """By "namespace/name": after it `hubble observe` works, and http://localhost:12000 shows the UI."""

    def __init__(self, name: str, args: HubbleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Hubble", name, None, opts)
        services = args["services"]
        limit = args["timeout_seconds"]
        self.addresses = pulumi.Output.from_input(dict[str, str]())
        if services:
            self.addresses = remote.run(
                f"{name}-addresses",
                Script("load_balancer_ips.py", [str(limit), args["pool"], *services], limit + 60),
                args["server"].connection,
                pulumi.ResourceOptions(parent=self, deleted_with=args["server"].machine),
                again=[args["rests_on"]],
            ).stdout.apply(lambda found: {service: json.loads(found)[service] for service in services})
        self.ssh_commands = {
            service: pulumi.Output.format("{0} -N -L {1}:{2}:80", args["ssh"], PORTS[service], self.addresses[service])
            for service in services
        }
        self.register_outputs({"addresses": self.addresses, "sshCommands": self.ssh_commands})
