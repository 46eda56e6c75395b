"""How Services are reached from outside the host."""

import json
from collections.abc import Sequence
from typing import Literal, TypedDict

import pulumi

from components import remote
from components.remote import Connection, Script
from lxd_resources import Endpoint, Forward

HTTPS = 443
PORTS = {"default/fcdemo-service": 8080, "kube-system/traefik": 8081}
"""The port on your own machine for each Service; Hubble's are `hubble.PORTS`."""


class PortForward(TypedDict):
    """One TCP port of the host."""

    service: str
    """Service as "namespace/name"."""
    service_port: int
    host_port: int


class ExposureArgs(TypedDict):
    mode: Literal["none", "ngrok", "forward", "bgp"]
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    lxd: pulumi.Input[Endpoint]
    """LXD's API on the host; a secret."""
    bridge: pulumi.Input[str]
    """Bridge whose subnet the LoadBalancer addresses are in."""
    listen_address: pulumi.Input[str]
    """The host's own IPv4 address at which forwarded ports listen."""
    addresses: pulumi.Output[dict[str, str]]
    """LoadBalancer address of each Service, by "namespace/name"."""
    services: Sequence[str]
    """Services that get a line to type, of those in PORTS."""
    ssh: pulumi.Input[str]
    """The ssh command to the host."""
    shown: Sequence[str]
    """Services that `bgp` shows, at port 80."""
    client: Connection | None
    """Who asks them there; None: the host."""
    forwards: Sequence[PortForward]
    """What `forward` passes on."""
    ngrok_service: str
    """What `ngrok` shows to the internet, on port 80."""
    ngrok_authtoken: pulumi.Input[str] | None
    """ngrok's token; a secret."""
    http: Sequence[str]
    """Services that must answer HTTP with status 200."""
    rests_on: pulumi.Input[str]
    """When it changes, the URLs are fetched again."""
    timeout_seconds: int
    """How long until they answer."""


class Exposure(pulumi.ComponentResource):
    """ngrok on the host, ports of the host, the addresses themselves, or (`none`) just the lines to type."""

    urls: pulumi.Output[dict[str, str]]
    """URL of each exposed Service, by "namespace/name"; known once it answers the host, or the client."""
    ssh_commands: dict[str, pulumi.Output[str]]
    """By "namespace/name": brings the Service's port 80 to its own of PORTS at localhost, whatever the mode."""

    def __init__(self, name: str, args: ExposureArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Exposure", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, deleted_with=args["machine"])
        urls: dict[str, pulumi.Output[str]] = {}
        shown: list[pulumi.Resource] = []
        if args["mode"] == "ngrok":
            service = args["ngrok_service"]
            agent = remote.run(
                f"{name}-ngrok",
                Script("ngrok.sh", [args["addresses"][service]]),
                args["connection"],
                child,
                stdin=args["ngrok_authtoken"],
                delete=Script("ngrok_remove.sh"),
            )
            shown.append(agent)
            urls[service] = agent.stdout
        if args["mode"] == "forward":
            forwarded = Forward(
                f"{name}-forward",
                lxd=args["lxd"],
                network=args["bridge"],
                listen_address=args["listen_address"],
                ports=[
                    {
                        "protocol": "tcp",
                        "listen_port": forward["host_port"],
                        "target_address": args["addresses"][forward["service"]],
                        "target_port": forward["service_port"],
                    }
                    for forward in args["forwards"]
                ],
                opts=child,
            )
            shown.append(forwarded)
            for forward in args["forwards"]:
                scheme = "https" if forward["service_port"] == HTTPS else "http"
                urls[forward["service"]] = pulumi.Output.format(
                    "{0}://{1}:{2}", scheme, args["listen_address"], forward["host_port"]
                )
        if args["mode"] == "bgp":
            for service in args["shown"]:
                urls[service] = pulumi.Output.format("http://{0}", args["addresses"][service])
        self.urls = pulumi.Output.from_input(dict[str, str]())
        if urls:
            limit = args["timeout_seconds"]
            fetched = remote.run(
                f"{name}-urls",
                Script("urls.py", [str(limit), pulumi.Output.json_dumps(urls), *args["http"]], limit + 60),
                args["client"] or args["connection"],
                pulumi.ResourceOptions(parent=self, deleted_with=args["machine"], depends_on=shown),
                again=[args["rests_on"]],
            )
            self.urls = fetched.stdout.apply(json.loads)
        self.ssh_commands = {
            service: pulumi.Output.format(
                "{0} -N -L {1}:{2}:80", args["ssh"], PORTS[service], args["addresses"][service]
            )
            for service in args["services"]
        }
        self.register_outputs({"urls": self.urls, "sshCommands": self.ssh_commands})
