"""Where an LXD is, and on which machine."""

from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi.output import Unknown


class Endpoint(TypedDict):
    """LXD's Unix socket on a machine that is reached by SSH."""

    host: pulumi.Input[str]
    """Address or name of the machine."""
    port: pulumi.Input[int]
    """TCP port of its SSH server."""
    user: pulumi.Input[str]
    """A user there who may write to the socket: root, or a member of LXD's group."""
    privateKey: pulumi.Input[str]
    """OpenSSH or PEM private key without passphrase."""
    hostKey: pulumi.Input[str]
    """The only host key that is accepted, as in authorized_keys: "ssh-ed25519 AAAA…"."""
    socket: NotRequired[pulumi.Input[str]]
    """Path there. Without it the first that there is of snap's and Debian's: see `SOCKETS`."""
    project: pulumi.Input[str]
    """LXD project that networks, profiles and instances are in."""
    machine: NotRequired[pulumi.Input[str]]
    """What tells the machine from another one besides its host key, e.g. a cloud's ID of it."""
    owned: NotRequired[pulumi.Input[bool]]
    """The stack makes and deletes the machine: what is on it ends with it."""


SOCKETS = ("/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket")
OPTIONAL = ("socket", "machine", "owned")
_ways: dict[tuple[str, str], dict[str, Any]] = {}


def is_elsewhere(old: Any, new: Any) -> bool:
    """Whether an endpoint is not known to be on the machine of the one before."""
    if isinstance(new, Unknown) or new["hostKey"] != old["hostKey"]:
        return True
    return "machine" in old and new.get("machine") != old["machine"]  # earlier versions did not keep it


def take(way: Any, before: Any) -> None:
    """Remember how a machine is reached in this run: by then address and key in the state may be of yesterday.

    `before`: the way in the state. It is no news, and the engine asks about it too: what would a replacement of another
    resource make of this one as it is?
    """
    if not isinstance(way, Unknown) and not any(isinstance(part, Unknown) for part in way.values()):
        _ways[_machine(way)] = _ways.get(_machine(way), way) if way == before else way


def newest(way: dict[str, Any]) -> dict[str, Any]:
    """The endpoint with the way to its machine that this run has taken, if it has."""
    return {**way, **{key: value for key, value in _ways.get(_machine(way), {}).items() if key != "project"}}


def _machine(way: dict[str, Any]) -> tuple[str, str]:
    return way.get("machine", ""), way["hostKey"]
