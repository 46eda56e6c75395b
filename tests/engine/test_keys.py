"""Another SSH key, as docs/keys.md says: the new one comes while the old one works, then the old one goes."""

import asyncssh
import pytest

from scripts.demo import KEY
from settings.keys import public_key
from simulator import memory
from simulator.host import keys_of
from tests.engine.world import World, needs_pulumi

pytestmark = [pytest.mark.engine, needs_pulumi]


def who(stack: World) -> dict[str, set[str]]:
    """Whose keys open host and nodes; that of the host itself, which opens its nodes, aside."""
    with memory.opened("host") as state:
        own, found = state["ssh_key"], {"host": set(state["authorized_keys"])}
    for (kind, _, name), instance in stack.host.lxd.entities.items():
        if kind == "instances":
            found[name] = set(stack.host.lxd.machines.files(instance)[keys_of(instance)].splitlines()) - {own}
    return found


def new() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()


def test_a_key_that_nobody_has_been_told_of_changes_nothing(stack: World) -> None:
    stack.up()
    known = stack.secrets[KEY]
    stack.secret("sshPrivateKey", new())
    stack.fails("unable to authenticate|does not let root in with this privateKey")
    stack.secret("sshPrivateKey", known)
    assert set(stack.up().operations.values()) <= {"update"}


def test_a_key_is_rotated(stack: World) -> None:
    old, private = public_key(stack.secrets[KEY]), new()
    assert who(stack) == {where: {old} for where in ("host", "k3s1", "k3s2", "k3s3")}

    stack.config["cilium-bgp:authorizedKeys"] = [f"{public_key(private)} the next one"]
    done = stack.as_foreseen()
    assert done.operations == dict.fromkeys(["access-authorized-keys", "k3s1", "k3s2", "k3s3"], "update")
    assert everywhere(stack) == {old, public_key(private)}

    stack.secret("sshPrivateKey", private)
    del stack.config["cilium-bgp:authorizedKeys"]
    ran = len(stack.host.commands)
    done = stack.up()
    assert not any("node_aside.sh leave 10." in command for command in stack.host.commands[ran:]), "drained for a key"
    assert "host-instance" not in done.operations
    assert set(done.operations.values()) == {"update"}
    assert everywhere(stack) == {public_key(private)}
    assert stack.established()
    stack.unchanged()
    stack.destroyed()


def everywhere(stack: World) -> set[str]:
    """Whose keys open each of them."""
    first, *others = who(stack).values()
    assert others == [first] * len(others)
    return first
