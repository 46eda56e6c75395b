"""Checks and forms of inputs, as a preview sees them: any value may be unknown, and numbers are floats."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi.output import Unknown

from .endpoint import OPTIONAL, Endpoint

Props = dict[str, Any]
Devices = Mapping[str, Mapping[str, pulumi.Input[str]]]
Problem = tuple[str, str]
"""Property and reason."""
CLOUD_INIT = tuple(
    f"{prefix}.{data}" for prefix in ("cloud-init", "user") for data in ("user-data", "vendor-data", "network-config")
)
"""What cloud-init reads at the first boot. Changed later, it would begin anew at the next one, with new SSH host keys
(canonical/lxd#17063)."""


def strings(value: Any) -> Any:
    """Inputs as LXD wants them: every scalar a string. Numbers arrive as floats; unknown values stay unknown."""
    match value:
        case dict():
            return {key: strings(item) for key, item in value.items() if item is not None}
        case list():
            return [strings(item) for item in value]
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
    return value


def changed_in(olds: Props, news: Props, field: str, key: str) -> bool:
    """Whether `key` inside the input `field` is known to change."""
    if isinstance(news[field], Unknown) or isinstance(new := news[field].get(key), Unknown):
        return False
    return bool(new != olds[field].get(key))


def with_former(news: Any, olds: Any, keys: Iterable[str]) -> Any:
    """A map of inputs with these of its keys as they were, there or not."""
    if isinstance(news, Unknown):
        return news
    former = {key: olds[key] for key in keys if key in olds}
    return {key: value for key, value in news.items() if key not in keys} | former


def root_pool(devices: object) -> object:
    """Storage pool of the root disk among the instance's own devices; Unknown if that cannot be told."""
    if not isinstance(devices, dict):
        return devices
    for device in devices.values():
        if isinstance(device, Unknown):
            return device
        if is_root(device):
            return device.get("pool")
    return None


def in_pool(devices: Any, pool: object) -> Any:
    """The devices, their root disk in that pool if one is given."""
    if not isinstance(pool, str) or not isinstance(devices, dict):
        return devices
    return {name: {**device, "pool": pool} if is_root(device) else device for name, device in devices.items()}


def is_root(device: object) -> bool:
    return isinstance(device, dict) and (device.get("type"), device.get("path")) == ("disk", "/")


def endpoint_problems(lxd: Any) -> Iterator[Problem]:
    if isinstance(lxd, Unknown):
        return
    for key in Endpoint.__annotations__:
        if key not in OPTIONAL and lxd.get(key) in (None, ""):
            yield "lxd", f"{key} is missing: give host, port, user, privateKey, hostKey and project"
    if isinstance(key := lxd.get("hostKey"), str) and not re.match(r"(ssh|ecdsa)-\S+ AAAA", key):
        yield "lxd", f'hostKey {key!r} is not a public key as in authorized_keys, "ssh-ed25519 AAAA…"'


def device_problems(devices: Any) -> Iterator[Problem]:
    """What LXD would say late, or never: an incomplete override of a profile's device."""
    if isinstance(devices, Unknown):
        return
    for name, device in devices.items():
        if isinstance(device, Unknown) or any(isinstance(value, Unknown) for value in device.values()):
            continue
        if "type" not in device:
            yield "devices", f"{name} has no type; a device of an instance replaces the profile's, it must be complete"
        elif "ipv4.address" in device and device["type"] == "nic" and not device.keys() & {"network", "parent"}:
            yield "devices", f"{name} has ipv4.address and no network; give both, the profile's device is replaced"


def proxy_problems(devices: Any) -> Iterator[Problem]:
    if isinstance(devices, Unknown) or any(isinstance(device, Unknown) for device in devices.values()):
        return
    for name, device in devices.items():
        if device.get("nat") == "true" and not any("ipv4.address" in other for other in devices.values()):
            yield (
                "devices",
                f"{name} has nat=true, which needs a device of the instance with a static ipv4.address",
            )


def user_data_problems(config: Any) -> Iterator[Problem]:
    if not isinstance(config, Unknown) and {"cloud-init.user-data", "user.user-data"} <= config.keys():
        yield "config", "cloud-init.user-data and user.user-data are both set; which one counts is ambiguous: keep one"
