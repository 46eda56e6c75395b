"""LXD instances: containers that are started, and waited for until they can be used."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from . import guest
from .client import Lxd, LxdError
from .endpoint import Endpoint
from .entity import Entity, Provider
from .inputs import Devices, Problem, Props, device_problems, proxy_problems, user_data_problems

IMAGE = "user.pulumi.image"
SERVERS = {"ubuntu": "https://cloud-images.ubuntu.com/releases/", "images": "https://images.lxd.canonical.com"}
STOP_SECONDS = 30
WaitFor = Literal["ipv4", "cloud-init", "ssh-host-key"]


class InstanceProvider(Provider):
    kind = "instance"
    collection = "instances"
    fields = ("config", "devices", "profiles")
    immutable = ("name", "image")
    references = ("profiles", "devices")
    server_set = ("volatile.", "image.", IMAGE)

    def problems(self, news: Props) -> Iterator[Problem]:
        yield from device_problems(news["devices"])
        yield from proxy_problems(news["devices"])
        yield from user_data_problems(news["config"])
        image, wait_for = news["image"], news["wait_for"]
        if isinstance(image, str) and (image.partition(":")[0] not in (*SERVERS, "local") or image.endswith(":")):
            yield "image", f"{image!r} is none of ubuntu:NAME, images:NAME, local:ALIAS"
        if not isinstance(wait_for, Unknown):
            for what in wait_for:
                if not isinstance(what, Unknown) and what not in guest.AWAIT:
                    yield "wait_for", f"{what!r} is none of {', '.join(guest.AWAIT)}"

    def replaced(self, olds: Props, news: Props) -> Iterator[str]:
        old, new = root_pool(olds["devices"]), root_pool(news["devices"])
        if old != new and not isinstance(new, Unknown):
            yield "devices"

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        result = super().diff(_id, _olds, _news)
        result.changes = result.changes or _olds.get("status") != "Running"
        return result

    def deadline(self, props: Props) -> float:
        return float(props["timeout_seconds"])

    def creation(self, props: Props) -> Props:
        remote, _, alias = props["image"].partition(":")
        source = {"type": "image", "alias": alias}
        if remote in SERVERS:
            source |= {"protocol": "simplestreams", "server": SERVERS[remote]}
        body = super().creation(props)
        config = body["config"] | {IMAGE: props["image"]}
        return body | {"type": "container", "source": source, "config": config}

    def born_as(self, live: Props) -> Props:
        return {"name": live["name"], "image": live["config"].get(IMAGE)}

    def settle(self, lxd: Lxd, props: Props) -> None:
        name = props["name"]
        live, _ = lxd.get("instances", name)
        if live and live["status"] != "Running":
            action = "unfreeze" if live["status"] == "Frozen" else "start"
            lxd.send("put", "instances", name, "state", body={"action": action, "timeout": STOP_SECONDS})
        for what in props["wait_for"]:
            guest.AWAIT[what](lxd, name)

    def outputs(self, lxd: Lxd, props: Props, live: Props) -> Props:
        found = guest.addresses(lxd, live)
        key = props.get("ssh_host_key") or ""
        if live["status"] == "Running" and "ssh-host-key" in props["wait_for"]:
            key = guest.host_key(lxd, props["name"])
        return {**found, "status": live["status"], "ssh_host_key": key}

    def before_delete(self, lxd: Lxd, props: Props, live: Props) -> None:
        if live["expanded_config"].get("security.protection.delete") == "true":
            raise LxdError("security.protection.delete is set; unset it yourself if it may be deleted")
        for force in (False, True):
            if live["status"] == "Stopped":
                return
            try:
                body = {"action": "stop", "timeout": STOP_SECONDS, "force": force}
                lxd.send("put", "instances", props["name"], "state", body=body)
            except LxdError:
                # A stop may time out, or come after the instance stopped by itself: what counts is what it is now.
                if force:
                    raise
            live = lxd.get("instances", props["name"])[0] or {"status": "Stopped"}


class Instance(Entity, module="lxd", name="Instance"):
    """An LXD container, running, and ready for what `wait_for` lists."""

    name: pulumi.Output[str]
    ipv4_address: pulumi.Output[str]
    mac_address: pulumi.Output[str]
    status: pulumi.Output[str]
    """LXD's word: Running, Stopped, Frozen … Any but Running is drift, and mended by the next `pulumi up`."""
    ssh_host_key: pulumi.Output[str]
    """ "ssh-ed25519 AAAA…", read through LXD; "" unless waited for."""

    def __init__(
        self,
        resource_name: str,
        *,
        lxd: pulumi.Input[Endpoint],
        name: pulumi.Input[str],
        image: pulumi.Input[str],
        profiles: pulumi.Input[Sequence[pulumi.Input[str]]],
        config: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        devices: pulumi.Input[Devices] | None = None,
        wait_for: pulumi.Input[Sequence[WaitFor]] = ("ipv4", "cloud-init", "ssh-host-key"),
        timeout_seconds: pulumi.Input[int] = 600,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`image`: ubuntu:22.04, images:debian/12, or local:ALIAS. `timeout_seconds`: for each of create, update and
        delete as a whole; the engine's custom_timeouts do not reach dynamic resources."""
        props = {
            "name": name,
            "image": image,
            "profiles": profiles,
            "config": config or {},
            "devices": devices or {},
            "wait_for": wait_for,
            "timeout_seconds": timeout_seconds,
        }
        outputs = ["ipv4_address", "mac_address", "status", "ssh_host_key"]
        super().__init__(InstanceProvider(), resource_name, lxd, props, opts, outputs=outputs)


def root_pool(devices: object) -> object:
    """Storage pool of the root disk among the instance's own devices; Unknown if that cannot be told."""
    if not isinstance(devices, dict):
        return devices
    for device in devices.values():
        if isinstance(device, Unknown):
            return device
        if device.get("type") == "disk" and device.get("path") == "/":
            return device.get("pool")
    return None
