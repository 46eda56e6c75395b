"""Where an LXD is."""

from typing import TypedDict

import pulumi


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
    socket: pulumi.Input[str]
    """Path there: /var/snap/lxd/common/lxd/unix.socket (snap) or /var/lib/lxd/unix.socket (Debian)."""
    project: pulumi.Input[str]
    """LXD project that networks, profiles and instances are in."""
