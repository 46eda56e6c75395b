"""LXD instances: containers that are started, and waited for until they can be used."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown

from . import guest
from .client import Lxd
from .endpoint import Endpoint
from .entity import Entity, Provider
from .errors import LxdError
from .inputs import (
    CLOUD_INIT,
    Devices,
    Problem,
    Props,
    device_problems,
    in_pool,
    is_root,
    proxy_problems,
    root_pool,
    user_data_problems,
    with_former,
)

IMAGE, GENERATION, LOGIN = "user.pulumi.image", "user.pulumi.generation", "user.pulumi.login"
SERVERS = {"ubuntu": "https://cloud-images.ubuntu.com/releases/", "images": "https://images.lxd.canonical.com"}
KEYS = "/.ssh/authorized_keys"
STOP_SECONDS = 30
WaitFor = Literal["ipv4", "cloud-init", "ssh-host-key"]


class InstanceProvider(Provider):
    """Image, its user, pool, project and what cloud-init reads are for instances that are made: one that is there keeps
    its own. Another generation or address is another instance."""

    kind = "instance"
    collection = "instances"
    fields = ("config", "devices", "profiles")
    server_set = ("volatile.", "image.", IMAGE, GENERATION, LOGIN)
    limits = ("timeout_seconds",)

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
        if not isinstance(news["generation"], Unknown) and news["generation"] != olds["generation"]:
            yield "generation"
        old, new = static_addresses(olds["devices"]), static_addresses(news["devices"])
        if any(name in new and new[name] != address for name, address in old.items()):
            yield "devices"

    def kept(self, olds: Props, news: Props) -> Props:
        lxd = news["lxd"]
        kept = {**news, "image": olds["image"], "lxd": {**lxd, "project": olds["lxd"]["project"]}}
        kept["login_user"] = login_user(olds, news["login_user"])
        kept["config"] = with_former(news["config"], olds["config"], CLOUD_INIT)
        # As earlier versions have made them.
        if isinstance(news["profiles"], list) and olds["profiles"] == ["default", *news["profiles"]]:
            kept["profiles"] = olds["profiles"]
        return kept | {"devices": in_pool(news["devices"], root_pool(olds["devices"]))}

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        result = super().diff(_id, with_what_is_new(_olds, _news), _news)
        result.changes = result.changes or _olds.get("status") != "Running"
        if result.replaces:
            _refuse_at_once(_news["name"], "generation" in result.replaces)
        return result

    def deadline(self, props: Props) -> float:
        return float(props["timeout_seconds"])

    def creation(self, props: Props) -> Props:
        remote, _, alias = props["image"].partition(":")
        source = {"type": "image", "alias": alias}
        if remote in SERVERS:
            source |= {"protocol": "simplestreams", "server": SERVERS[remote]}
        body = super().creation(props)
        born = {IMAGE: props["image"], LOGIN: props["login_user"], GENERATION: str(int(props["generation"]))}
        return body | {"type": "container", "source": source, "config": body["config"] | born}

    def born_as(self, live: Props) -> Props:
        return {"name": live["name"], "generation": int(live["config"].get(GENERATION, "1"))}

    def as_born(self, props: Props, live: Props) -> Props:
        born = {**props, "image": live["config"].get(IMAGE, props["image"])}
        if LOGIN in live["config"]:
            born["login_user"] = live["config"][LOGIN]
        born["config"] = with_former(props["config"], live["config"], CLOUD_INIT)
        return born | {"devices": in_pool(props["devices"], root_pool(live["expanded_devices"]))}

    def settle(self, lxd: Lxd, props: Props) -> None:
        name = props["name"]
        live, _ = lxd.get("instances", name)
        if live and live["status"] != "Running":
            action = "unfreeze" if live["status"] == "Frozen" else "start"
            lxd.send("put", "instances", name, "state", body={"action": action, "timeout": STOP_SECONDS})
        for what in props["wait_for"]:
            guest.AWAIT[what](lxd, name)
        for named, text in props["files"].items():
            path = absolute(named, props)
            if guest.read(lxd, name, path) != text:
                guest.write(lxd, name, path, text)

    def observed(self, lxd: Lxd, props: Props, live: Props) -> Props:
        files = {path: guest.read(lxd, props["name"], absolute(path, props)) for path in props.get("files") or {}}
        return {**super().observed(lxd, props, live), "files": files}

    def outputs(self, lxd: Lxd, props: Props, live: Props) -> Props:
        found = guest.addresses(lxd, live)
        key = props.get("ssh_host_key") or ""
        if live["status"] == "Running" and "ssh-host-key" in props["wait_for"]:
            key = guest.host_key(lxd, props["name"])
        place = {"pool": root_pool(live["expanded_devices"]), "project": props["lxd"]["project"]}
        return {**found, **place, "status": live["status"], "ssh_host_key": key}

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
    image: pulumi.Output[str]
    """What it was made of."""
    login_user: pulumi.Output[str]
    """The user of that image."""
    pool: pulumi.Output[str]
    """Storage pool that it was made in."""
    project: pulumi.Output[str]
    """LXD project that it is in."""

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
        files: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        login_user: pulumi.Input[str] = "root",
        generation: pulumi.Input[int] = 1,
        wait_for: pulumi.Input[Sequence[WaitFor]] = ("ipv4", "cloud-init", "ssh-host-key"),
        timeout_seconds: pulumi.Input[int] = 600,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`image`: ubuntu:22.04, images:debian/12, or local:ALIAS. `files`: content by path, for their owner alone,
        kept as given. `login_user`: the image's own, in whose home are files below `~`. `generation`: another number is
        another instance. `timeout_seconds`: for each of create, update and delete as a whole; the engine's
        custom_timeouts do not reach dynamic resources."""
        props = {
            "name": name,
            "image": image,
            "profiles": profiles,
            "config": config or {},
            "devices": devices or {},
            "files": files or {},
            "login_user": login_user,
            "generation": generation,
            "wait_for": wait_for,
            "timeout_seconds": timeout_seconds,
        }
        outputs = ["ipv4_address", "mac_address", "status", "ssh_host_key", "pool", "project"]
        super().__init__(InstanceProvider(), resource_name, lxd, props, opts, outputs=outputs)


_made_anew: dict[str, bool] = {}


def _refuse_at_once(name: str, in_turn: bool) -> None:
    """Errors: several instances of this run would be made anew, and one of them does not wait for its turn."""
    _made_anew[name] = in_turn
    if len(_made_anew) > 1 and not all(_made_anew.values()):
        one = next(name for name, in_turn in _made_anew.items() if not in_turn)
        others = ", ".join(other for other in _made_anew if other != one)
        raise LxdError(
            f"{one} has another address and would be made anew at the same time as {others}. Change one, run, and go "
            f"on; or give each of them another generation too: they go one after the other then"
        )


def with_what_is_new(olds: Props, news: Props) -> Props:
    """The state of an earlier version with what that did not keep yet, so that an upgrade alone changes no instance."""
    lxd, devices = news["lxd"], news["devices"]
    olds = {"generation": 1, "files": {}, **olds}
    if "login_user" not in olds:
        user = login_user(olds, news["login_user"])
        files = {path.replace(f"{home(user)}/", "~/"): text for path, text in olds["files"].items()}
        olds |= {"login_user": user, "files": files}
    if "machine" not in olds["lxd"] and not isinstance(lxd, Unknown):
        new = {key: lxd[key] for key in ("machine", "owned") if key in lxd}
        olds["lxd"] = {key: value for key, value in olds["lxd"].items() if key in lxd} | new
    if root_pool(olds["devices"]) is None and isinstance(devices, dict):
        olds["devices"] = {**olds["devices"], **{name: device for name, device in devices.items() if is_root(device)}}
    return olds


def login_user(olds: Props, new: str) -> str:
    """Whom an instance's image lets in; of an earlier version's the path of its keys tells."""
    homes = (path.removesuffix(KEYS) for path in olds.get("files") or {} if path.endswith(KEYS))
    return olds.get("login_user") or next((home.rpartition("/")[2] for home in homes), new)


def home(user: str) -> str:
    return "/root" if user == "root" else f"/home/{user}"


def absolute(path: str, props: Props) -> str:
    return home(props["login_user"]) + path.removeprefix("~") if path.startswith("~/") else path


def static_addresses(devices: object) -> dict[str, str]:
    """IPv4 addresses that are known, by device."""
    known = devices.items() if isinstance(devices, dict) else ()
    return {
        name: address
        for name, device in known
        if isinstance(device, dict) and isinstance(address := device.get("ipv4.address"), str)
    }
