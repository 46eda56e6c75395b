"""Bring the dev stack up in a pretend world: no account, no host, no network, and nobody's Pulumi login.

usage: demo.py [PULUMI ARGUMENTS]     (default: up --yes --skip-preview)

Its state, passphrase and pretend world are kept in .cache/demo: a second run changes nothing.
"""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import yaml

from scripts import backend, interrupts
from scripts.preview import PREFIX, QUIET, ROOT, is_secret, left_to_the_user, needed_secrets, run, stack_file
from settings.keys import public_key
from simulator.host import PretendHost

STACK = "dev"
KEY = f"{PREFIX}sshPrivateKey"
FOLDER = ROOT / ".cache" / "demo"
ADDRESS = "203.0.113.10"  # RFC 5737: an address for documentation, nobody's
DIAL = ROOT / "simulator" / "dial"
UP = ["up", "--yes", "--skip-preview"]
SIMULATED = (
    "All of this was simulated: no machine, no LXD, no Kubernetes and no router exist; what answered is simulator/.\n"
    "Real were the Pulumi engine, its state in .cache/demo, and every SSH connection, on this machine's loopback."
)


def main(*arguments: str, folder: Path = FOLDER, output: IO[str] | None = None) -> int:
    interrupts.heed()
    folder.mkdir(parents=True, exist_ok=True)
    environment = world(folder)
    plain = stack_file(STACK).get("config") or {}
    left_to_the_user(plain)
    needed = needed_secrets(plain)
    private_key = needed[KEY] = kept(folder / "key", needed[KEY])
    configuration = configured(folder, plain, needed, environment)
    command = ["pulumi", *(arguments or UP), "--stack", STACK, "--config-file", str(configuration)]
    if not (output or sys.stdout).isatty():
        command += QUIET
    os.environ |= environment  # the pretend host, in this process, remembers in the same place
    with PretendHost(public_key(private_key)) as host:
        environment["SIMULATOR_DIAL"] = f"{ADDRESS}:22=127.0.0.1:{host.port}"
        simulated = [sys.executable, "-m", "simulator", "--", *command]
        code = subprocess.run(simulated, cwd=ROOT, env=os.environ | environment, stdout=output, check=False).returncode
    print(SIMULATED, file=output)
    return code


def world(folder: Path) -> dict[str, str]:
    """The environment of a world of its own in the folder."""
    (folder / "state").mkdir(exist_ok=True)
    search = [str(DIAL), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PULUMI_BACKEND_URL": backend.url(folder / "state"),
        "PULUMI_CONFIG_PASSPHRASE": kept(folder / "passphrase", secrets.token_hex()),
        "PULUMI_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(search),
        "SIMULATOR_HOST": ADDRESS,
        "SIMULATOR_STATE": str(folder / "world"),
    }


def kept(file: Path, first: str) -> str:
    """What the file holds; `first` is written to it if there is none."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(first)
    return file.read_text()


def configured(folder: Path, plain: dict[str, Any], needed: dict[str, str], environment: dict[str, str]) -> Path:
    """The stack's configuration file in the folder: what is plain as given, a secret as it was first given."""
    file = folder / f"Pulumi.{STACK}.yaml"
    pulumi, environment = ["pulumi", "--cwd", str(folder), "--non-interactive"], os.environ | environment
    if not file.exists():
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        run([*pulumi, "stack", "init", STACK], environment)
    for name in needed.keys() - secrets_of(file).keys():
        run([*pulumi, "config", "set", "--stack", STACK, "--secret", name], environment, needed[name])
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "config": plain | secrets_of(file)}, sort_keys=False))
    return file


def secrets_of(file: Path) -> dict[str, Any]:
    return {k: v for k, v in (yaml.safe_load(file.read_text()).get("config") or {}).items() if is_secret(v)}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
