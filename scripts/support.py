"""One archive, in the current folder, with what a helper needs to see of a stack, and none of its secrets.

usage: support.py STACK [--config-file FILE]

All of it is searched for every secret of the stack and of the environment before it is written. In it `replaced.txt`
says by name what was taken out of which file.
"""

import argparse
import asyncio
import io
import json
import os
import platform
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh

from components.remote import Script
from lxd_resources.transport import dial
from scripts.preview import ROOT
from scripts.redaction import Redaction, leaves
from status.look import why_closed
from status.stack import INSTANCE, Stack, UnknownError, exported, stack_of

SECONDS = 300
ENVIRONMENT = ("LINODE_TOKEN", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE")
VERSIONS = [
    ["git", "describe", "--always", "--dirty"],
    ["pulumi", "version"],
    ["pulumi", "plugin", "ls"],
    ["uv", "pip", "list"],
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("support", description="One archive with what a helper needs to see.")
    parser.add_argument("stack")
    parser.add_argument("--config-file", help="of the stack; by default Pulumi.STACK.yaml")
    given = parser.parse_args(arguments)
    name = given.stack
    try:
        deployment, config = exported(name), configuration(name, given.config_file)
    except UnknownError as error:
        sys.exit(f"nothing was written, for nobody knows what of it is secret: {error}")
    resources = deployment.get("resources") or []
    pending = [its["resource"] for its in deployment.get("pending_operations") or []]
    hidden = Redaction(secrets_of(config), [*resources, *pending])
    texts = {
        "versions.txt": f"Python {sys.version} on {platform.platform()}\n"
        + "".join(f"$ {shlex.join(its)}\n{said(its)}" for its in VERSIONS),
        "configuration.json": json.dumps(config, indent=1),
        "resources.txt": "".join(f"{its['urn']} {its.get('id', '')}\n" for its in resources)
        + "".join(f"pending: {its['urn']}\n" for its in pending),
        "status.json": said([sys.executable, "-m", "status", name, "--json"]),
        "doctor.txt": said([sys.executable, "-m", "scripts.doctor", name]),
        "host.txt": host(name, resources),
    }
    file = write(name, texts, hidden)
    print(f"{file}: look into it before you give it away")
    return 0


def configuration(name: str, file: str | None) -> dict[str, Any]:
    """Value of each key, and whether it is a secret. Errors: UnknownError."""
    command = ["pulumi", "config", "--stack", name, "--json", "--show-secrets", "--non-interactive"]
    if file:
        command += ["--config-file", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise UnknownError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def secrets_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The name of each: of the configuration, and of what comes from the environment in place of it."""
    found = {os.environ[key]: key for key in ENVIRONMENT if os.environ.get(key)}
    for key, its in config.items():
        found |= {text: key for _, text, _ in leaves(its, key) if its.get("secret")}
    return found


def said(command: list[str]) -> str:
    """What it says, or why nothing."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"
    return done.stdout


def host(name: str, resources: list[dict[str, Any]]) -> str:
    """What support.sh says there, or why it cannot."""
    instances = [its["outputs"] for its in resources if its["type"].endswith(INSTANCE)]
    try:
        stack = stack_of(name, resources)
        return asyncio.run(ask(stack, [f"{its['project']}/{its['name']}" for its in instances]))
    except UnknownError as error:
        return f"{error}\n"
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        closed = why_closed(error, stack)
        return f"{closed.what}; {closed.fix}\n"


async def ask(stack: Stack, nodes: list[str]) -> str:
    """Errors: OSError, asyncssh.Error."""
    command = await Script("support.sh", nodes, SECONDS).command(stack.way["user"], "support").future()
    async with dial(dict(stack.way)) as client:
        done = await client.run(command or "", input="", timeout=SECONDS + 15)
    return f"{done.stdout!s}{done.stderr!s}"


def write(name: str, texts: Mapping[str, str], hidden: Redaction) -> Path:
    """The archive: each text without secrets, and what was taken out of it."""
    clean, replaced = {}, ["Taken out, by name, and how often:"]
    for file, text in texts.items():
        clean[file], found = hidden.of(text)
        replaced += [f"{file}: {what}, {count}" for what, count in sorted(found.items())]
    clean["replaced.txt"] = "\n".join([*replaced, ""]) if replaced[1:] else "There was no secret in it.\n"
    now = datetime.now(UTC)
    stem = f"support-{name.replace('/', '-')}-{now:%Y-%m-%d-%H%M%S}"
    archive = Path(f"{stem}.tar.gz").absolute()
    archive.touch(mode=0o600)
    with tarfile.open(archive, "w:gz") as tar:
        for file, text in clean.items():
            data = text.encode()
            entry = tarfile.TarInfo(f"{stem}/{file}")
            entry.size, entry.mtime = len(data), int(now.timestamp())
            tar.addfile(entry, io.BytesIO(data))
    return archive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
