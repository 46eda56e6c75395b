"""Which instance it is: told from the next one, and the same through whatever else changes, in previews too."""

from typing import Any

import pytest
from pulumi.output import UNKNOWN

from lxd_resources.identity import IdentityProvider

INPUTS = {
    "machine": "4711 ssh-ed25519 AAAA",
    "instance": "k3s1",
    "mac_address": "00:16:3e:00:00:01",
    "ssh_host_key": "ssh-ed25519 BBBB",
    "image": "ubuntu:22.04",
    "pool": "default",
    "login_user": "ubuntu",
    "project": "default",
    "__provider": "x",
}
UPDATED = {
    "mac_address": UNKNOWN,
    "ssh_host_key": UNKNOWN,
    "pool": UNKNOWN,
    "image": "ubuntu:24.04",
    "login_user": "debian",
}
"""What a preview of an instance's update knows of it: its ID, and what it is asked for."""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (False, [])),
        (UPDATED, (False, [])),
        ({"image": "ubuntu:24.04", "pool": "another"}, (False, [])),
        ({"ssh_host_key": "ssh-ed25519 CCCC"}, (True, [])),
        ({"mac_address": "00:16:3e:00:00:02"}, (True, ["mac_address"])),
        (UPDATED | {"instance": UNKNOWN}, (True, ["mac_address"])),
        (UPDATED | {"machine": UNKNOWN}, (True, ["mac_address"])),
        ({"machine": "4712 ssh-ed25519 AAAA"}, (True, ["mac_address"])),
    ],
)
def test_another_instance_is_another_identity(change: dict[str, Any], expected: tuple[bool, list[str]]) -> None:
    result = IdentityProvider().diff("", INPUTS, INPUTS | change)
    assert (result.changes, result.replaces) == expected


def test_an_instance_that_is_gone_is_remembered() -> None:
    made = IdentityProvider().create(INPUTS)
    assert (made.id, made.outs) == ("00:16:3e:00:00:01", INPUTS)
    again = INPUTS | {"ssh_host_key": "ssh-ed25519 CCCC"}
    assert IdentityProvider().update("", INPUTS, again).outs == again
    assert IdentityProvider().read("", INPUTS).outs == INPUTS, "of an instance that is gone until the next one is made"
