"""Preview a stack's configuration on a throw-away stack: no account, no host, no secret of anybody's.

usage: preview.py STACK

Pulumi.STACK.yaml is read, never written. What it leaves to its user (the addresses that may come in, the
host's key) and its secrets are made up here, said so, and forgotten afterwards. The official provider plugins
are used where they can be had, otherwise the simulator's; PROVIDERS=simulated chooses the latter. A stack that breaks
a rule of `policy/` is refused.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import settings
from scripts import interrupts

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache"
PREFIX = "cilium-bgp:"
NOBODY = "192.0.2.1/32"  # RFC 5737: an address for documentation
PROVIDERS = ("command", "kubernetes", "linode")
PLUGIN_SOURCE = "https://get.pulumi.com"
PLUGIN_SECONDS = 300
QUIET = ["--non-interactive", "--suppress-progress", "--color", "never"]
"""For Pulumi where nobody watches a terminal."""
POLICY = ["--policy-pack", "policy", "--policy-pack-config", "policy/config.json"]
T = TypeVar("T")


def main(stack: str) -> int:
    interrupts.heed()
    configuration = stack_file(stack)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="preview.", dir=CACHE) as folder:
        state = Path(folder, "state")
        state.mkdir()
        environment = os.environ | {
            "PULUMI_BACKEND_URL": state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": secrets.token_hex(),
            "PULUMI_HOME": str(CACHE / "pulumi"),
            "PATH": os.pathsep.join([str(ROOT / "policy"), os.environ["PATH"]]),
        }
        copy = throw_away_stack(stack, configuration, Path(folder), environment)
        preview = ["pulumi", "preview", "--stack", stack, "--config-file", str(copy), *POLICY]
        if not sys.stdout.isatty():
            preview += QUIET
        reason = why_simulated(environment)
        if reason:
            print(f"providers: SIMULATED {', '.join(PROVIDERS)}: {reason}", flush=True)
            preview = [sys.executable, "-m", "simulator", *PROVIDERS, "--", *preview]
        else:
            print(f"providers: official {', '.join(PROVIDERS)}", flush=True)
        child = subprocess.Popen(preview, cwd=ROOT, env=environment)
        # The terminal's interrupt reaches the engine itself, which ends in order; only then the folder may go.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()


def stack_file(stack: str) -> dict[str, Any]:
    """The stack's file as it is; ends the program with a message when there is none or it is no YAML."""
    path = ROOT / f"Pulumi.{stack}.yaml"
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        sys.exit(f"{path.name}: {error.strerror}. Name a stack that has a configuration file: make preview STACK=dev")
    except yaml.YAMLError as error:
        sys.exit(f"{path.name} is not YAML: {error}")
    if not isinstance(content, dict) or not isinstance(content.get("config") or {}, dict):
        sys.exit(f"{path.name}: expected a mapping with the key config, as `pulumi config set` writes it")
    return content


def throw_away_stack(stack: str, content: dict[str, Any], folder: Path, environment: dict[str, str]) -> Path:
    """Creates the stack in the folder, for `pulumi stack init` writes beside Pulumi.yaml; returns its configuration.

    Ends the program with every problem of the configuration, before any engine runs.
    """
    given = content.get("config") or {}
    plain = {key: value for key, value in given.items() if not is_secret(value)}
    made_up = left_to_the_user(plain)
    made = {key: another(value) for key, value in given.items() if is_secret(value)}
    made |= {key: value for key, value in needed_secrets(plain).items() if key not in plain}
    made_up += [key.removeprefix(PREFIX) for key in made]
    problems = configuration_problems(plain, made)
    if problems:
        sys.exit("\n".join(problems))
    print(f"made up for this preview: {', '.join(made_up)}", flush=True)

    shutil.copy(ROOT / "Pulumi.yaml", folder)
    copy = folder / f"Pulumi.{stack}.yaml"
    copy.write_text(yaml.safe_dump({"config": plain}, sort_keys=False))
    pulumi = ["pulumi", "--cwd", str(folder), "--non-interactive"]
    run([*pulumi, "stack", "init", stack], environment)
    for key, value in made.items():
        run([*pulumi, "config", "set", "--stack", stack, "--secret", key], environment, value)
    return copy


def is_secret(value: object) -> bool:
    """Whether it is encrypted, or a map of what is."""
    return isinstance(value, dict) and (
        value.keys() == {"secure"} or (bool(value) and all(map(is_secret, value.values())))
    )


def another(value: dict[str, Any]) -> str:
    """Something good for nothing in place of a secret."""
    token = secrets.token_hex()
    return token if value.keys() == {"secure"} else json.dumps(dict.fromkeys(value, token))


def left_to_the_user(config: dict[str, Any]) -> list[str]:
    """Fills in what no shipped stack can know; returns what it filled in."""
    host = config.get(f"{PREFIX}host")
    if not isinstance(host, dict):
        return []
    if host.get("kind") == "linode" and "adminCidrs" not in host:
        host["adminCidrs"] = [NOBODY]
        return [f"host.adminCidrs ({NOBODY})"]
    if host.get("kind") == "existing" and "hostKey" not in host:
        public = Ed25519PrivateKey.generate().public_key()
        openssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        host["hostKey"] = openssh.decode()
        return ["host.hostKey"]
    return []


def needed_secrets(config: dict[str, Any]) -> dict[str, str]:
    """The secrets that this configuration needs, with values good for nothing."""
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    needed = {f"{PREFIX}sshPrivateKey": key.decode()}
    if inner(config, "exposure", "mode") == "ngrok":
        needed[f"{PREFIX}ngrokAuthtoken"] = secrets.token_hex(16)
    if isinstance(snapshots := inner(config, "k3s", "snapshots"), dict) and snapshots.get("s3"):
        needed |= {f"{PREFIX}{key}": secrets.token_hex(16) for key in ("s3AccessKey", "s3SecretKey")}
    return needed


def inner(config: dict[str, Any], root: str, key: str) -> object:
    value = config.get(f"{PREFIX}{root}")
    return value.get(key) if isinstance(value, dict) else None


def configuration_problems(plain: dict[str, Any], made: dict[str, str]) -> list[str]:
    try:
        settings.parse(roots(plain), roots(made))
    except settings.ConfigurationError as error:
        return error.problems
    return []


def roots(config: Mapping[str, T]) -> dict[str, T]:
    """The project's own keys, without its name before them."""
    return {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}


def why_simulated(environment: dict[str, str]) -> str | None:
    """None when the official plugins are there or could be installed, otherwise why not."""
    if environment.get("PROVIDERS") == "simulated":
        return "PROVIDERS=simulated"
    missing = [
        (name, version)
        for name, version in ((name, metadata.version(f"pulumi-{name}")) for name in PROVIDERS)
        if not Path(environment["PULUMI_HOME"], "plugins", f"resource-{name}-v{version}").is_dir()
    ]
    if not missing:
        return None
    try:
        urllib.request.urlopen(urllib.request.Request(PLUGIN_SOURCE, method="HEAD"), timeout=3).close()
    except OSError as error:
        return f"official plugins could not be downloaded ({PLUGIN_SOURCE}: {error})"
    for name, version in missing:
        print(f"installing the official plugin {name} {version} into .cache", flush=True)
        install = ["timeout", str(PLUGIN_SECONDS), "pulumi", "plugin", "install", "resource", name, version]
        done = subprocess.run(install, env=environment, text=True, capture_output=True, check=False)
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"nothing within {PLUGIN_SECONDS} s"]
            return f"official plugin {name} {version} could not be installed ({last[0]})"
    return None


def run(command: list[str], environment: dict[str, str], stdin: str | None = None) -> None:
    """Quiet when it succeeds; ends the program with the command's output when it fails."""
    done = subprocess.run(command, env=environment, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit((done.stdout + done.stderr).strip())


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
