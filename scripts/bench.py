"""Measure the program on the simulator against the engine's floor, and write docs/performance.md.

usage: bench.py [ROUNDS]     (counted rounds, at least 5; one more comes before them and is not counted)

The floor is the same engine command on an empty program. All cases take turns within a round, so that what else the
machine does falls on all of them. Everything is kept in .cache/bench, made anew at each start; nobody's Pulumi login
and no network but the loopback is used.
"""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from scripts import interrupts
from scripts.demo import ADDRESS, KEY, STACK, UP, configured, world
from scripts.preview import PREFIX, QUIET, ROOT, left_to_the_user, needed_secrets, run, stack_file
from settings.keys import public_key
from simulator.host import PretendHost
from simulator.providers import PROVIDERS
from standin.serve import attached, serve

FOLDER = ROOT / ".cache" / "bench"
PAGE = ROOT / "docs" / "performance.md"
LEAST_ROUNDS = 5
PACKAGES = ("pulumi", "pulumi-command", "pulumi-kubernetes", "pulumi-linode", "pydantic")
FLOOR_PREVIEW, FLOOR_UP = "empty program, preview", "empty program, `up`"
NO_OP = "`dev`, `up` that changes nothing"
DEV_NODES = 3


def preview_of(nodes: int) -> str:
    return f"{'`dev`' if nodes == DEV_NODES else 'the same'}, {nodes} nodes, preview"


@dataclass(frozen=True)
class Aim:
    what: str
    case: str
    base: str
    most: float
    """The largest ratio of the case to its base that is fine."""


AIMS = (
    Aim("preview of `dev` / of an empty program", preview_of(DEV_NODES), FLOOR_PREVIEW, 2),
    Aim("`up` of `dev` / of an empty program", NO_OP, FLOOR_UP, 2.3),
    Aim("preview of 100 nodes / of 3", preview_of(100), preview_of(DEV_NODES), 8),
)


@dataclass(frozen=True)
class Run:
    """One engine command that has ended."""

    seconds: float
    """By the clock."""
    cpu: float
    """Processor seconds of the engine, the program and the provider of its dynamic resources."""
    simulator: float
    """Processor seconds of the pretend providers, which are in this process."""
    resources: int
    """What the engine counted at the end."""


@dataclass(frozen=True)
class Case:
    """An engine command to measure."""

    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]

    def run(self) -> Run:
        cpu, own, start = spent(), time.process_time(), time.perf_counter()
        output = self.output()
        seconds = time.perf_counter() - start
        counted = re.findall(r"(\d+) (?:to create|unchanged)", output)
        return Run(seconds, spent() - cpu, time.process_time() - own, sum(map(int, counted)))

    def output(self, **more: str) -> str:
        """What the command writes, with `more` in its environment; ends this program when it fails."""
        command, environment = ["pulumi", *self.command, *QUIET], {**self.environment, **more}
        done = subprocess.run(
            command,
            cwd=self.cwd,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
        return done.stdout


Results = Mapping[str, Sequence[Run]]


@dataclass(frozen=True)
class Neighbours:
    """What else the machine did."""

    load: float
    """Load average of the minute before."""
    share: float
    """Part of the machine's processor time that others had during the measurement, 0 to 1."""


def main(rounds: str = str(LEAST_ROUNDS)) -> int:
    if not rounds.isdecimal() or int(rounds) < LEAST_ROUNDS:
        sys.exit(f"{rounds} rounds: fewer than {LEAST_ROUNDS} say little. Write {LEAST_ROUNDS} or more.")
    interrupts.heed()
    load = os.getloadavg()[0]
    shutil.rmtree(FOLDER, ignore_errors=True)
    served = {name: serve(provider) for name, provider in PROVIDERS.items()}
    cases = made(attached(served))
    results: dict[str, list[Run]] = {name: [] for name in cases}
    start, busy, own = time.monotonic(), machine_spent(), time.process_time() + spent()
    for number in range(int(rounds) + 1):
        for name, case in cases.items():
            its = case.run()
            print(f"{f'round {number}' if number else 'warm-up'}: {name}: {its.seconds:.2f} s", flush=True)
            if number:
                results[name].append(its)
    others = max(0.0, machine_spent() - busy - (time.process_time() + spent() - own))
    neighbours = Neighbours(load, others / (time.monotonic() - start) / (os.cpu_count() or 1))
    imports = {name: imported(cases[name]) for name in (FLOOR_PREVIEW, preview_of(DEV_NODES))}
    PAGE.write_text(page(results, imports, neighbours))
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


def made(attach: dict[str, str]) -> dict[str, Case]:
    """The cases, each in a world of its own, ready to be measured."""
    empty = FOLDER / "empty"
    empty.mkdir(parents=True)
    environment = os.environ | world(empty) | attach
    options = f"{{toolchain: pip, virtualenv: {ROOT / '.venv'}}}"
    (empty / "Pulumi.yaml").write_text(f"name: empty\nruntime: {{name: python, options: {options}}}\n")
    (empty / "__main__.py").touch()
    run(["pulumi", "--cwd", str(empty), "--non-interactive", "stack", "init", STACK], environment)
    Case([*UP, "--stack", STACK], empty, environment).output()
    return {
        FLOOR_PREVIEW: Case(["preview", "--stack", STACK], empty, environment),
        preview_of(DEV_NODES): program(DEV_NODES, attach),
        FLOOR_UP: Case([*UP, "--expect-no-changes", "--stack", STACK], empty, environment),
        NO_OP: program(DEV_NODES, attach, up=True),
        **{preview_of(nodes): program(nodes, attach) for nodes in (30, 100)},
    }


def program(nodes: int, attach: dict[str, str], *, up: bool = False) -> Case:
    """A preview of the stack dev with that many nodes; or the second `up`, after a first one on the pretend host."""
    folder = FOLDER / f"{nodes}{'-up' if up else ''}"
    folder.mkdir()
    environment = os.environ | world(folder) | attach
    plain: dict[str, Any] = stack_file(STACK)["config"]
    left_to_the_user(plain)
    # the further nodes are above its pool and its own nodes on the bridge, 10.26.23.0/24
    further = range(DEV_NODES + 1, nodes + 1)
    plain[f"{PREFIX}nodes"] |= {f"k3s{n}": {"role": "agent", "address": f"10.26.23.{96 + n}"} for n in further}
    needed = needed_secrets(plain)
    options = ["--stack", STACK, "--config-file", str(configured(folder, plain, needed, environment))]
    if not up:
        return Case(["preview", *options], ROOT, environment)
    os.environ["SIMULATOR_STATE"] = environment["SIMULATOR_STATE"]  # the pretend host's, in this process
    with PretendHost(public_key(needed[KEY])) as host:
        dial = {"SIMULATOR_DIAL": f"{ADDRESS}:22=127.0.0.1:{host.port}"}
        run([sys.executable, "-m", "simulator", "--", "pulumi", *UP, *options, *QUIET], environment | dial)
    return Case([*UP, "--expect-no-changes", *options], ROOT, environment)


def spent() -> float:
    """Processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine_spent() -> float:
    """Processor seconds of the whole machine since it booted (proc(5), /proc/stat)."""
    user, nice, system, _idle, _iowait, *interrupts = Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def imported(case: Case) -> list[Counter[str]]:
    """Microseconds by package that its own modules took to import: of the program, and of its dynamic provider."""
    processes = []
    for process in case.output(PYTHONPROFILEIMPORTTIME="1").partition("Diagnostics:")[2].split("imported package")[1:]:
        packages: Counter[str] = Counter()
        for microseconds, module in re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", process):
            packages[module.partition(".")[0]] += int(microseconds)
        processes.append(packages)
    return sorted(processes, key=Counter.total, reverse=True)


def ratios(case: Sequence[Run], base: Sequence[Run]) -> list[float]:
    """Pair by pair: each run to that of the same round."""
    return [its.seconds / other.seconds for its, other in zip(case, base, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Table cells: minimum, median, maximum."""
    return f"{min(values):.2f} | {median(values):.2f} | {max(values):.2f}"


def page(results: Results, imports: Mapping[str, Sequence[Counter[str]]], neighbours: Neighbours) -> str:
    (floor, *_), (its, *dynamic) = imports[FLOOR_PREVIEW], imports[preview_of(DEV_NODES)]
    few, many = (results[preview_of(nodes)] for nodes in (DEV_NODES, 100))
    more = many[-1].resources - few[-1].resources
    each = (median(run.cpu for run in many) - median(run.cpu for run in few)) / more
    others, load = neighbours.share, neighbours.load
    beside = f"Others had {others:.0%} of the processors meanwhile; the load average before was {load:.1f}."
    return f"""# How long it takes

Written by `make bench`: do not edit. The engine, its state and the program are real. What the providers do is
simulated, in Python, in one process that is there already: the times are not those of the official plugins, which the
engine must start first and which ask Linode's and the cluster's API. What the ratios say is the cost of this program
beside an empty one, under the same engine with the same providers attached.

The engine downloads no plugins here. Until November 2026 it tried to in every command, the empty program's too, and
gave up after 2.7 s: the ratios that stood here, 1.54 for a preview and 1.74 for an `up`, were 2.5 and 2.8 without. The
pip that is pinned since takes 0.25 s of a processor less in every command, which makes the ratios larger.

{machine(beside)}

All cases take turns in each of {len(few)} rounds, after one that is not counted. Previews are of a stack that is yet to
be made; `up` is `up --skip-preview`. Seconds by the clock:

| | resources | min | median | max |
|---|---|---|---|---|
{
        lines(
            f"| {name} | {runs[-1].resources} | {spread([run.seconds for run in runs])} |"
            for name, runs in results.items()
        )
    }

Ratios, pair by pair of one round; the aims are for the median:

| | min | median | max | aim | |
|---|---|---|---|---|---|
{lines(verdict(aim, results) for aim in AIMS)}

## Where the time goes

Medians of processor seconds, which depend less on what else the machine does. The provider of dynamic resources (LXD's
entities and the host's key) is a Python process beside the program, which an empty program does without.

| | engine, program, dynamic provider | simulator |
|---|---|---|
{lines(f"| {name} | {processors(runs)} |" for name, runs in results.items())}

With 100 nodes each further resource takes {1000 * each:.0f} ms of a processor.

The program switches Python's garbage collector off. With it on, measured once by hand (2026-11-27, medians of three), a
preview of `dev` took 3.7 s of a processor instead of 3.2, one of 100 nodes 17.7 instead of 11.2.

Imports, as `-X importtime` counts them inside of the engine, take {seconds(its)} s of the program{
        "".join(f" and {seconds(other)} s of the dynamic provider" for other in dynamic)
    };
{seconds(floor)} s in an empty program, for Pulumi's SDK. The most, by the package whose modules they are:

| package | seconds |
|---|---|
{lines(f"| {package} | {microseconds / 1e6:.2f} |" for package, microseconds in its.most_common(6))}

Pulumi's packages for Kubernetes and Linode import all of their classes with the first. Resources without those classes
were tried, and halved what the program loads; what checks their arguments would be lost, so they were not taken.
"""


def lines(of: Iterable[str]) -> str:
    return "\n".join(of)


def verdict(aim: Aim, results: Results) -> str:
    """Table row: the ratios, and whether their median is within the aim."""
    pairs = ratios(results[aim.case], results[aim.base])
    over = median(pairs) - aim.most
    late = over * median(run.seconds for run in results[aim.base])
    said = f"missed by {over:.2f}, that is {late:.1f} s" if over > 0 else "met"
    return f"| {aim.what} | {spread(pairs)} | at most {aim.most:g} | {said} |"


def processors(runs: Sequence[Run]) -> str:
    """Table cells: processor seconds of the engine's side, and of the simulator."""
    return f"{median(run.cpu for run in runs):.2f} | {median(run.simulator for run in runs):.2f}"


def seconds(packages: Counter[str]) -> str:
    return f"{packages.total() / 1e6:.2f}"


def machine(beside: str) -> str:
    """List of what was measured, on what, when, and beside what."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = model[1] if model else platform.machine()
    packages = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES)
    commit = output("git", "describe", "--always", "--dirty")
    return f"""\
- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}
- {os.cpu_count()} cores, {processor}; {memory:.0f} GiB of memory; Linux {platform.release()}
- Pulumi {output("pulumi", "version")}, Python {platform.python_version()}; {packages}
- {beside}"""


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # the providers' threads would keep this process
