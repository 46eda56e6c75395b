"""The SSH agent of who runs the program: nothing here needs it, but it must not be a dead one."""

import os
import socket


def problem() -> str | None:
    """What is wrong with the agent at SSH_AUTH_SOCK; pulumi-command 1.2.1 dials it before it dials a host."""
    agent = os.environ.get("SSH_AUTH_SOCK")
    if not agent:
        return None
    with socket.socket(socket.AF_UNIX) as its:
        its.settimeout(5)
        try:
            its.connect(agent)
        except OSError as error:
            return (
                f"SSH_AUTH_SOCK: no agent answers at {agent} ({error}); the command plugin asks it before it connects, "
                "and fails. It is not needed, as the key is in the configuration. Run again after: unset SSH_AUTH_SOCK"
            )
    return None
