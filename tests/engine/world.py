"""A stack in a pretend world of its own: the real engine, the real program, SSH for real, all else in `simulator`."""

import atexit
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

import pytest
import yaml

from scripts.demo import ADDRESS, DIAL, KEY, STACK, configured, world
from scripts.preview import PREFIX, ROOT, left_to_the_user, needed_secrets
from settings.keys import public_key
from simulator import bgp, memory
from simulator.cluster import balancers, ips
from simulator.host import PretendHost
from simulator.kubernetes import PretendKubernetes
from simulator.providers import PROVIDERS
from simulator.shell import Shell
from standin.serve import attached, serve

SECONDS = 180
FORKS = Path(__file__).parent / "forks"
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".cache" / "bin")])
PATH = os.pathsep.join([TOOLS, os.environ["PATH"]])
CANARIES = {
    "bgpPassword": "canary-bgp-3f1c",
    "ngrokAuthtoken": "canary-ngrok-8d2e",
    "s3AccessKey": "canary-s3-71aa",
    "s3SecretKey": "canary-s3-0c4f",
}


@dataclass
class Done:
    """One engine command that has ended."""

    code: int
    output: str
    operations: dict[str, str] = field(default_factory=dict)
    """What was done to each resource, by its name; what stayed the same is left out."""


class World:
    """Serves from `with` on. `config` is the plain configuration of the next command, at first as in the file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, file: str = "Pulumi.dev.yaml") -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.config: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())["config"]
        left_to_the_user(self.config)
        self.secrets = needed_secrets(self.config)
        self.canaries = {*CANARIES.values(), self.secrets[KEY].splitlines()[2]}
        self.seen: set[str] = set()
        """Everything that the engine wrote, and every process's arguments while it ran."""
        self.runs = 0

    def __enter__(self) -> Self:
        # Of an engine that lives for seconds, collecting garbage and the log of its own take a fifth of the processor.
        own = {"PATH": PATH, "PULUMI_SKIP_UPDATE_CHECK": "true", "GOGC": "400", "FORKS": forks()}
        for name, value in {**world(self.folder), **own}.items():
            self.monkeypatch.setenv(name, value)
        self.monkeypatch.setenv("PYTHONPATH", str(FORKS), prepend=os.pathsep)
        (self.folder / "home").mkdir()
        (self.folder / "home" / "logs").touch()  # no folder: it goes on without
        self.monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        self.monkeypatch.setattr(PretendKubernetes, "await_seconds", 2)
        linode = self.setting("host")["kind"] == "linode"
        self.host = PretendHost(public_key(self.secrets[KEY]), cloud=linode).__enter__()
        if not linode:
            self.setting("host").update(port=self.host.port, hostKey=self.host.key())
        self.monkeypatch.setenv("SIMULATOR_DIAL", f"{ADDRESS}:22=127.0.0.1:{self.host.port}")
        self.monkeypatch.setattr(socket.socket, "connect", socket.socket.connect)  # undone at the end
        runpy.run_path(str(DIAL / "sitecustomize.py"))
        self.served = {name: serve(provider) for name, provider in PROVIDERS.items()}
        return self

    def __exit__(self, *error: object) -> None:
        for _, stop in self.served.values():
            stop()
        self.host.__exit__(*error)

    def setting(self, root: str) -> dict[str, Any]:
        """A root of the configuration, to be changed."""
        its: dict[str, Any] = self.config.setdefault(f"{PREFIX}{root}", {})
        return its

    def secret(self, root: str, value: str) -> None:
        """Another value of a secret root from the next command on, to be looked for too."""
        self.secrets[f"{PREFIX}{root}"] = value
        self.canaries.add(value)
        file = self.folder / f"Pulumi.{STACK}.yaml"
        content = yaml.safe_load(file.read_text())
        content["config"].pop(f"{PREFIX}{root}", None)  # is set anew
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def pulumi(self, *arguments: str, at: str | int = "", do: Callable[[int], object] | None = None) -> Done:
        """Run the engine; once `at` appears in its event log, or as many events are there, `do` something to it (given
        its process ID)."""
        missing = needed_secrets(self.config).keys() - self.secrets.keys()
        self.secrets |= {key: CANARIES[key.removeprefix(PREFIX)] for key in missing}
        file = configured(self.folder, self.config, self.secrets, {})
        self.runs += 1
        log, written = self.folder / f"{self.runs}.events", self.folder / f"{self.runs}.log"
        command = ["pulumi", *arguments, "--stack", STACK, "--non-interactive", "--color=never"]
        if arguments[0] in ("up", "preview", "destroy", "refresh"):
            command += ["--config-file", str(file), "--event-log", str(log)]
        environment = os.environ | attached(self.served) | {"PULUMI_DEBUG_COMMANDS": "true"}
        if not do:  # nothing is killed: the state is written once, at the end
            environment["PULUMI_SKIP_CHECKPOINTS"] = "true"
        with written.open("w") as output:
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        end = time.monotonic() + SECONDS
        while child.poll() is None:
            self.seen |= processes()
            if time.monotonic() > end:
                kill(child.pid)
            events = log.read_text() if do and log.exists() else ""
            if do and events and (at in events if isinstance(at, str) else events.count("\n") >= at):
                do(child.pid)
                do = None
            time.sleep(0.05 if do else 0.2)
        events = log.read_text() if log.exists() else ""
        self.seen |= {written.read_text(), events}
        assert time.monotonic() < end, f"pulumi {arguments} did not end within {SECONDS} s:\n{written.read_text()}"
        return Done(child.returncode, written.read_text(), operations(events))

    def events(self) -> int:
        """How many the last run of `up` or the like has logged."""
        return (self.folder / f"{self.runs}.events").read_text().count("\n")

    def begin(self, configuration: Path) -> None:
        """Take up a stack by its configuration file, secrets and all."""
        self.pulumi("stack", "ls")  # makes the stack
        shutil.copy(configuration, self.folder)

    def up(self, *options: str) -> Done:
        """A run that must succeed, and tell no secret."""
        done = self.pulumi("up", "--yes", "--skip-preview", *options)
        assert done.code == 0, done.output
        assert self.leaked() == []
        return done

    def fails(self, said: str, command: str = "up") -> None:
        """A run that must fail, say this (a regular expression), and tell no secret."""
        done = self.pulumi(command, "--yes", "--skip-preview")
        assert done.code != 0, done.output
        assert re.search(said, done.output), done.output
        assert self.leaked() == []

    def as_foreseen(self, *options: str) -> Done:
        """A run that does exactly what a preview has said before."""
        foreseen = self.pulumi("preview", *options)
        done = self.up(*options)
        assert done.operations == foreseen.operations, foreseen.output
        return done

    def refreshed(self) -> Done:
        """A refresh, which must succeed."""
        done = self.pulumi("refresh", "--yes", "--skip-preview")
        assert done.code == 0, done.output
        return done

    def unchanged(self) -> Done:
        """A run finds nothing to do."""
        done = self.pulumi("preview", "--expect-no-changes")
        assert done.code == 0, done.output
        assert done.operations == {}
        return done

    def destroyed(self) -> None:
        """Destroying succeeds and leaves nothing in the state."""
        done = self.pulumi("destroy", "--yes", "--skip-preview")
        assert done.code == 0, done.output
        assert self.resources() == set()

    def resources(self) -> set[str]:
        """Names of what is in the state."""
        return {resource["urn"].rpartition("::")[2] for resource in self.state()}

    def outputs(self) -> dict[str, Any]:
        """Those of the stack; a secret one as the state has it."""
        (stack,) = (resource for resource in self.state() if resource["type"] == "pulumi:pulumi:Stack")
        found: dict[str, Any] = stack["outputs"]
        return found

    def state(self) -> list[dict[str, Any]]:
        """The resources in the state's own file: a command of the engine would take a second to show them."""
        (file,) = (self.folder / "state").rglob(f"stacks/*/{STACK}.json")
        found: list[dict[str, Any]] = json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or []
        return found

    def established(self) -> bool:
        """Whether the router has a session with every node."""
        return {its["state"] for its in self.outputs()["bgp"]["sessions"].values()} == {"Established"}

    def holds(self) -> bool:
        """Whether what the outputs claim is so now, after all that the last run did: each node's session stands, and
        each address is a Service's and learned."""
        sessions = Shell(self.host.lxd).sessions()
        given = {ip for balancer in balancers(memory.read("kubernetes")["objects"]) for ip in ips(balancer)}
        outputs = self.outputs()
        claimed = set(outputs["load_balancer_ips"].values())
        nodes = {its["address"] for its in outputs["nodes"].values()}
        return (
            sessions.keys() == nodes
            and claimed == given
            and all({f"{address}/32" for address in claimed} <= set(routes) for routes in sessions.values())
        )

    def leaked(self) -> list[str]:
        """Where a secret is in plain text: the state's files, the engine's output, arguments here and there."""
        state = memory.read("host")
        made = {state["cluster"][key] for key in ("token", "agent-token")} if "cluster" in state else set()
        if router := bgp.router(state.get("frr", "")):
            made.add(router.side.password)
        texts = {str(f): f.read_text(errors="replace") for f in (self.folder / "state").rglob("*") if f.is_file()}
        texts |= {f"seen {text[:80]}": text for text in self.seen}
        texts |= {f"command {text[-80:]}": text for text in self.host.commands}
        return [where for where, text in texts.items() if any(canary in text for canary in self.canaries | made)]

    @contextmanager
    def fault(self, **kinds: Any) -> Iterator[None]:
        """fail={KEY: MESSAGE}, hang=[KEY], lose=[KEY]; see `simulator.memory`, `shell`, `host` and `kubernetes`."""
        file = memory.file_of("faults")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(kinds))
        try:
            yield
        finally:
            file.unlink()


@cache
def forks() -> str:
    """Where to ask for forks of a process that is this one's."""
    path = str(Path(mkdtemp()) / "forks")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(path)
        listening.listen()
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.engine.forks"], cwd=ROOT, stdin=listening.fileno()
        )
    atexit.register(process.wait)
    atexit.register(process.kill)
    return path


def processes() -> set[str]:
    """Arguments of all processes that there are."""
    found = set()
    for process in Path("/proc").iterdir():  # not glob: that fails where a process ends while it looks
        if process.name.isdigit():
            with suppress(OSError):  # it has ended
                found.add((process / "cmdline").read_text(errors="replace"))
    return found


def kill(engine: int) -> None:
    """Kill the engine and all that it started, as an out-of-memory killer or a closed laptop would."""
    os.kill(engine, signal.SIGKILL)  # first: it would go on, and end by itself, without its children
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            text = (process / "stat").read_text()
            if int(text.rpartition(")")[2].split()[3]) == engine:  # its session
                os.kill(int(text.split()[0]), signal.SIGKILL)


def operations(log: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in log.splitlines():
        if step := json.loads(line).get("resourcePreEvent"):
            operation, urn = step["metadata"]["op"], step["metadata"]["urn"]
            # The engine gives the whole configuration to the provider of dynamic resources, which uses none of it.
            if operation in ("same", "refresh") or "::pulumi:providers:pulumi-python::" in urn:
                continue
            name = urn.split("::")[-1]
            if operation == "remove-pending-replace":  # deleted to be replaced, and then not wanted any more
                found[name] = "delete"
            else:
                found[name] = "replace" if "replace" in operation + found.get(name, "") else operation
    return found


needs_pulumi = pytest.mark.skipif(not shutil.which("pulumi", path=PATH), reason="no pulumi on PATH or in .cache/bin")
