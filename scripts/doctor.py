"""Will this host do for this stack, and where the stack is there, what of it is not well? All of it with its fix;
nothing is changed.

usage: doctor.py STACK

Asks the host of Pulumi.STACK.yaml what the first step of `up` would ask it. Logs in with the stack's key where
`pulumi config` gives it, else with your own, as `ssh` would. Then it looks at the stack layer by layer, as `status`.
"""

import asyncio
import subprocess
import sys

import asyncssh

import settings
from components.preflight import no_sudo
from components.remote import Script
from scripts.preview import PREFIX, is_secret, left_to_the_user, needed_secrets, roots, stack_file
from settings.preflight import arguments
from status.layers import judge
from status.look import look
from status.show import is_well, show
from status.stack import UnknownError, read

KEY = f"{PREFIX}sshPrivateKey"
SECONDS = 15


def main(stack: str) -> int:
    given = stack_file(stack).get("config") or {}
    plain = {key: value for key, value in given.items() if not is_secret(value)}
    made_up = left_to_the_user(plain)
    try:
        its = settings.parse(roots(plain), roots(needed_secrets(plain)))
    except settings.ConfigurationError as error:
        sys.exit("\n".join(error.problems))
    if isinstance(its.host, settings.LinodeSettings):
        print("its host is a Linode that the stack makes: `up` looks at it as soon as it is there")
        return examine(stack)
    try:
        code = asyncio.run(ask(its, its.host, stack, trusting="host.hostKey" in made_up))
    except (OSError, asyncssh.Error, TimeoutError) as error:
        where = f"{its.host.user}@{its.host.address} port {its.host.port}"
        sys.exit(f"SSH to {where}: {advice(error)}")
    return max(code, examine(stack))


def examine(name: str) -> int:
    """Say what of a stack that is there stands and what does not; 1 if something does not."""
    try:
        stack = read(name)
    except UnknownError as error:
        print(f"of the stack itself nothing can be said: {error}", file=sys.stderr)
        return 0
    layers = judge(stack, look(stack))
    show(name, layers, fixes=True)
    return int(not is_well(layers))


async def ask(its: settings.Settings, host: settings.ExistingSettings, stack: str, *, trusting: bool) -> int:
    """Say what the host says; 1 if it will not do. Errors: OSError, asyncssh.Error."""
    if trusting:
        key = await asyncssh.get_server_host_key(host.address, host.port, server_host_key_algs=["ssh-ed25519"])
        if key is None:
            raise asyncssh.KeyExchangeFailed("no host key")
        print(f"host.hostKey: not set; the host shows {' '.join(key.export_public_key().decode().split()[:2])}")
    else:
        key = asyncssh.import_public_key(host.host_key)
    private = private_key(stack)
    own_keys = {} if private is None else {"client_keys": [asyncssh.import_private_key(private)], "agent_path": None}
    async with asyncssh.connect(
        host.address,
        host.port,
        username=host.user,
        known_hosts=([key], [], []),
        connect_timeout=SECONDS,
        login_timeout=SECONDS,
        **own_keys,
    ) as client:
        if host.user != "root" and (await client.run("sudo -n true", check=False)).exit_status != 0:
            sys.exit(no_sudo(host.user))
        script = Script("preflight.sh", ["", f"{PREFIX[:-1]}/{stack}", host.user, *arguments(its)])
        done = await client.run(await script.command(host.user, "doctor").future() or "", check=False)
    print(f"{done.stderr!s}{done.stdout!s}".strip())
    return int(done.exit_status != 0)


def private_key(stack: str) -> str | None:
    """The stack's own key, where there is a stack and its secrets can be read."""
    command = ["pulumi", "config", "get", KEY, "--stack", stack, "--non-interactive"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else None


def advice(error: Exception) -> str:
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return "it shows another host key than host.hostKey; find out who answers there"
        case asyncssh.KeyExchangeFailed():
            return "it shows no host key that the stack can pin. Make those that are missing there: ssh-keygen -A"
        case asyncssh.PermissionDenied():
            return "it takes neither the stack's key nor yours. Add one: ssh-copy-id"
        case _:
            return f"{str(error) or type(error).__name__}; is it on, and is its firewall open for you?"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
