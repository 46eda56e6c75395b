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
from typing import Any

import yaml

from scripts.preview import PREFIX, ROOT, left_to_the_user, needed_secrets, run, stack_file
from settings.keys import public_key
from simulator.host import PretendHost

STACK = "dev"
FOLDER = ROOT / ".cache" / "demo"
ADDRESS = "203.0.113.10"  # RFC 5737: an address for documentation, nobody's
DIAL = ROOT / "simulator" / "dial"
UP = ["up", "--yes", "--skip-preview"]
SIMULATED = (
    "All of this was simulated: no machine, no LXD, no Kubernetes and no router exist; what answered is simulator/.\n"
    "Real were the Pulumi engine, its state in .cache/demo, and every SSH connection, on this machine's loopback."
)


def main(*arguments: str) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = world(FOLDER)
    configuration, key = configured(FOLDER, stack_file(STACK).get("config") or {}, environment)
    command = ["pulumi", *(arguments or UP), "--stack", STACK, "--config-file", str(configuration)]
    if not sys.stdout.isatty():
        command += ["--non-interactive", "--suppress-progress", "--color", "never"]
    os.environ |= environment  # the pretend host, in this process, remembers in the same place
    with PretendHost(public_key(key)) as host:
        environment["SIMULATOR_DIAL"] = f"{ADDRESS}:22=127.0.0.1:{host.port}"
        simulated = [sys.executable, "-m", "simulator", "--", *command]
        code = subprocess.run(simulated, cwd=ROOT, env=os.environ | environment, check=False).returncode
    print(SIMULATED)
    return code


def world(folder: Path) -> dict[str, str]:
    """The environment of a world of its own in the folder."""
    passphrase = folder / "passphrase"
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_hex())
    (folder / "state").mkdir(exist_ok=True)
    search = [str(DIAL), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PULUMI_BACKEND_URL": (folder / "state").as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": passphrase.read_text(),
        "PULUMI_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(search),
        "SIMULATOR_HOST": ADDRESS,
        "SIMULATOR_STATE": str(folder / "world"),
    }


def configured(folder: Path, plain: dict[str, Any], environment: dict[str, str]) -> tuple[Path, str]:
    """The stack's configuration file in the folder, made if need be, with `plain` and secrets; and the private key."""
    file, key_file = folder / f"Pulumi.{STACK}.yaml", folder / "key"
    left_to_the_user(plain)
    if not file.exists():
        made = needed_secrets(plain)
        key_file.touch(mode=0o600)
        key_file.write_text(made[f"{PREFIX}sshPrivateKey"])
        shutil.copy(ROOT / "Pulumi.yaml", folder)
        pulumi = ["pulumi", "--cwd", str(folder), "--non-interactive"]
        run([*pulumi, "stack", "init", STACK], environment=os.environ | environment)
        for name, value in made.items():
            run([*pulumi, "config", "set", "--stack", STACK, "--secret", name], os.environ | environment, value)
    content = yaml.safe_load(file.read_text())
    kept = {name: value for name, value in content["config"].items() if isinstance(value, dict) and "secure" in value}
    file.write_text(yaml.safe_dump({**content, "config": plain | kept}, sort_keys=False))
    return file, key_file.read_text()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
