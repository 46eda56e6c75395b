"""The one look at a stack's host."""

import asyncio
import json
import secrets
import shlex
from typing import Any

import asyncssh

from components.preflight import sudo_allowed
from components.remote import Script
from lxd_resources.endpoint import SOCKETS
from lxd_resources.errors import AnotherMachineError
from lxd_resources.transport import dial, explained
from status.finding import Finding
from status.stack import Stack

SECONDS = 120


def look(stack: Stack) -> dict[str, Any] | Finding:
    """What components/scripts/status.py prints, or why it could not be asked."""
    try:
        return asyncio.run(ask(stack))
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        return why_closed(error, stack)


async def ask(stack: Stack) -> dict[str, Any] | Finding:
    known = [*map(json.dumps, (stack.nodes, stack.upstreams, stack.addresses)), *stack.http]
    parameters = [":".join(SOCKETS), stack.endpoint, *known]
    script = Script("status.py", parameters, SECONDS, uses=("on_server.py", "proof.py"))
    # Of a name of its own: who else looks is not disturbed.
    words = script.words(stack.way["user"], f"status-{secrets.token_hex(4)}")
    async with dial(dict(stack.way)) as client:
        done = await client.run(shlex.join([*words, *parameters]), input="", timeout=SECONDS + 15)
    if done.exit_status:
        return why_failed(str(done.stderr).strip(), stack)
    found: dict[str, Any] = json.loads(str(done.stdout))
    return found


def why_closed(error: Exception, stack: Stack) -> Finding:
    said = explained(error, dict(stack.way))
    match error:
        case _ if isinstance(said, AnotherMachineError):
            return Finding(
                f"{stack.ssh}: it shows another host key than the pinned one",
                "find out who answers there. If it is yours and was installed anew, pin its new key: host.hostKey, or "
                f"for a Linode `pulumi up --stack {stack.name} --replace '**::host-key'`",
            )
        case asyncssh.PermissionDenied():
            return Finding(
                f"{stack.ssh}: it does not take the stack's key (sshPrivateKey)",
                f"add the key's public half to ~/.ssh/authorized_keys of {stack.way['user']} there",
            )
    return Finding(
        f"{stack.ssh}: {said}",
        "is it on, and is its firewall open for you (host.adminCidrs of a Linode)? A Linode that is lost is made anew "
        f"by `pulumi up --refresh --stack {stack.name}`",
    )


def why_failed(said: str, stack: Stack) -> Finding:
    user = stack.way["user"]
    last = said.splitlines()[-1] if said else f"nothing was said within {SECONDS} s"
    if "sudo:" in said:
        return Finding(
            f"{user} has no sudo without a password on the host",
            f"allow it there: {sudo_allowed(user)}",
        )
    if "python3" in said and "not found" in said:
        return Finding("the host has no python3", f"`{stack.ssh} apt-get install -y python3-minimal`")
    return Finding(f"the look at the host failed: {last}", "is its disk full, or has it no memory left? Then try again")
