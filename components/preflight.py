"""The look at the host before anything on it is changed."""

from collections.abc import Sequence
from typing import TypedDict

import pulumi

from components import remote
from components.random_hex import RandomHex
from components.remote import Connection, Script


class PreflightArgs(TypedDict):
    connection: Connection
    """SSH to the host."""
    machine: pulumi.Resource | None
    """The machine that all of this dies with, where the stack owns it."""
    wanted: Sequence[str]
    """What the stack will need there: preflight.sh's arguments from BRIDGE on."""


def sudo_allowed(user: str) -> str:
    """The line that lets a login user do what every step needs."""
    return f"echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/{user}"


def no_sudo(user: str) -> str:
    """What to say where it may not."""
    return (
        f"host.user {user} has no sudo without a password; every step needs root. Allow it there: {sudo_allowed(user)}"
    )


class Preflight(pulumi.ComponentResource):
    """All that would go wrong on the host is said at once, each with its fix; one that passes is this stack's alone."""

    ready: pulumi.Output[str]
    """Known once the host has passed."""

    def __init__(self, name: str, args: PreflightArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cilium-bgp:index:Preflight", name, None, opts)
        # Two people may give their stacks one name.
        owner = RandomHex(f"{name}-owner", bytes=8, secret=False, opts=pulumi.ResourceOptions(parent=self))
        stack = f"{pulumi.get_project()}/{pulumi.get_stack()}"
        user = args["connection"].user

        def advise(failed: pulumi.ErrorHookArgs) -> bool:
            """Not tried again."""
            if any("sudo: " in error for error in failed.errors):
                pulumi.Output.from_input(user).apply(lambda its: pulumi.log.error(no_sudo(its)))
            return False

        self.ready = remote.run(
            f"{name}-host",
            Script("preflight.sh", [owner.value, stack, user, *args["wanted"]]),
            args["connection"],
            pulumi.ResourceOptions(
                parent=self,
                deleted_with=args["machine"],
                hooks=pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook(f"{name}-refused", advise)]),
            ),
            delete=Script("host_release.sh"),
        ).stdout
        self.register_outputs({"ready": self.ready})
