"""Measure the program in the lab, on real parts, against Ansible, and write docs/performance-lab.md.

usage: bench_lab.py [ROUNDS]     (at least 5)

What is compared is the dev stack short of Cilium: the playbook in tests/ansible says the same. Each makes it on a host
of its own that has LXD and FRR, finds nothing to do, and adds a node. The lab is taken down before and afterwards.
"""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from lab import machine, programs, stack, store
from scripts import bench, interrupts

PLAYBOOK = store.REPOSITORY / "tests" / "ansible"
PAGE = store.REPOSITORY / "docs" / "performance-lab.md"
ENVIRONMENT = store.REPOSITORY / ".cache" / "ansible"
EVENTS = stack.RUN / "events.json"
FOURTH = "k3s4", "10.26.23.14"
SHORT_OF_CILIUM = ["up", "--yes", "--skip-preview", "--exclude", "**cilium-bgp:index:Cilium**", "--exclude-dependents"]
TASKS = {"first": "from nothing", "second": "nothing to do", "third": "one node more"}
AIMS = {"first": 1.0, "second": 3.0, "third": 2.0}
"""How many times as long as the program the playbook takes at least."""
UNAVOIDABLE = {
    "container start": ("k3s1",),
    "installer": ("k3s1-k3s-server",),
    "join": ("-k3s-agent", "-joined"),
    "agent ready": ("cilium-ready",),
    "BGP": ("proof-addresses", "proof-routes"),
}
"""By what it is, the ends of the names of the resources that wait for it; of each end the slowest counts."""
MOST = 1.4
SHOWN_SECONDS = 2
SHOWN_NOT = ("cilium-bgp:index:", "pulumi:pulumi:Stack")
"""Types of what is made of others."""

Times = Mapping[str, Sequence[float]]


def main(rounds: str = str(bench.LEAST_ROUNDS)) -> int:
    if not rounds.isdecimal() or int(rounds) < bench.LEAST_ROUNDS:
        sys.exit(f"{rounds} rounds: fewer than {bench.LEAST_ROUNDS} say little. Write {bench.LEAST_ROUNDS} or more.")
    interrupts.heed()
    ansible = [str(installed()), "site.yml", "-e", f"k3s_version={programs.K3S_VERSION}"]
    subjects: dict[str, Callable[[], list[float]]] = {"program": program, "playbook": lambda: playbook(ansible)}
    results: dict[str, list[list[float]]] = {name: [] for name in subjects}
    with stack.alone():
        stack.destroy()
        stack.setup_lxd("start")
        load, start, busy = os.getloadavg()[0], time.monotonic(), bench.machine_spent()
        for number in range(int(rounds)):
            for name in subjects if number % 2 else reversed(subjects):
                results[name].append(its := subjects[name]())
                print(f"round {number + 1}: {name}: {', '.join(f'{each:.1f}' for each in its)} s", flush=True)
        used = (bench.machine_spent() - busy) / (time.monotonic() - start) / (os.cpu_count() or 1)
        events = timed_events()
        stack.destroy()
    times = {name: dict(zip(TASKS, zip(*its, strict=True), strict=True)) for name, its in results.items()}
    PAGE.write_text(page(times, events, bench.machine(f"The load average before was {load:.1f}; {used:.0%} used.")))
    print(f"written: {PAGE.relative_to(store.REPOSITORY)}")
    return 0


def installed() -> Path:
    """Ansible of the version that the playbook is for, in an environment of its own."""
    wanted = PLAYBOOK / "requirements.txt"
    done = ENVIRONMENT / "requirements.txt"
    if not done.exists() or done.read_text() != wanted.read_text():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        store.run([ENVIRONMENT / "bin" / "pip", "install", "--quiet", "--requirement", wanted])
        done.write_text(wanted.read_text())
    return ENVIRONMENT / "bin" / "ansible-playbook"


def anew(host: str = "prepared") -> None:
    """No state, and a host on which nothing was made yet."""
    if stack.HOST.name in machine.machines():
        machine.remove(stack.HOST.name)
    stack.forget()
    stack.prepare("configmap", host=host)


def program() -> list[float]:
    anew()
    times = [timed(*SHORT_OF_CILIUM), timed(*SHORT_OF_CILIUM, "--expect-no-changes")]
    content = yaml.safe_load(stack.CONFIG.read_text())
    name, address = FOURTH
    content["config"]["cilium-bgp:nodes"][name] = {"role": "agent", "address": address}
    stack.CONFIG.write_text(yaml.safe_dump(content, sort_keys=False))
    return [*times, checked(timed(*SHORT_OF_CILIUM))]


def timed(*operation: str) -> float:
    start = time.monotonic()
    if stack.operate(*operation):
        sys.exit(f"pulumi {' '.join(operation)} failed; its lines are above")
    return time.monotonic() - start


def playbook(command: Sequence[str]) -> list[float]:
    anew()
    name, address = FOURTH
    more = stack.RUN / "fourth.yml"
    more.write_text(json.dumps({"agents": {"hosts": {name: {"ansible_host": address}}}}))
    both = ["-i", "inventory.yml", "-i", str(more)]
    return [played(command), played(command, unchanged=True), checked(played([*command, *both]))]


def played(command: Sequence[str], *, unchanged: bool = False) -> float:
    environment = os.environ | {
        "SSH_KEY": str(stack.KEY),
        "HOST_ADDRESS": stack.HOST.address,
        "ANSIBLE_CONFIG": str(PLAYBOOK / "ansible.cfg"),
    }
    start = time.monotonic()
    done = subprocess.run(command, cwd=PLAYBOOK, env=environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - start
    recap = done.stdout.partition("PLAY RECAP")[2]
    if done.returncode or (unchanged and recap.count("changed=") != recap.count("changed=0 ")):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took


def checked(seconds: float) -> float:
    """The same, when all four nodes are in the cluster."""
    nodes = stack.HOST.run("lxc", "exec", "k3s1", "--", "k3s", "kubectl", "get", "nodes", "-o", "name").split()
    if len(nodes) != len(stack.NODES) + 1:
        sys.exit(f"the cluster has {' '.join(nodes)}")
    return seconds


def timed_events() -> list[dict[str, Any]]:
    """The engine's events of a first `up` of the whole stack, on a host that has nothing."""
    anew("fresh")
    os.environ["PULUMI_DEBUG_COMMANDS"] = "true"  # offers --event-log
    timed("up", "--yes", "--skip-preview", "--event-log", str(EVENTS))
    return [json.loads(line) for line in EVENTS.read_text().splitlines()]


def spans(events: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """By name, when the creation of each resource began and ended, in seconds since the first event."""
    first = events[0]["timestamp"]

    def moments(kind: str) -> dict[str, int]:
        found = ((event[kind]["metadata"], event["timestamp"] - first) for event in events if kind in event)
        return {its["urn"]: at for its, at in found if its["op"] == "create" and not its["type"].startswith(SHOWN_NOT)}

    began = moments("resourcePreEvent")
    return {urn.rpartition("::")[2]: (began[urn], at) for urn, at in moments("resOutputsEvent").items()}


def critical(its: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Seconds by what cannot be avoided."""
    lasted = {name: end - start for name, (start, end) in its.items()}
    return {
        what: sum(max((of for name, of in lasted.items() if name.endswith(end)), default=0) for end in ends)
        for what, ends in UNAVOIDABLE.items()
    }


def gantt(its: Mapping[str, tuple[int, int]]) -> str:
    """A Mermaid timeline of what took a while; red is what cannot be avoided."""
    ends = tuple(end for each in UNAVOIDABLE.values() for end in each)
    lines = ["```mermaid", "gantt", "  dateFormat X", "  axisFormat %M:%S"]
    for name, (start, end) in sorted(its.items(), key=lambda each: each[1]):
        if end - start >= SHOWN_SECONDS:
            lines.append(f"  {name} :{'crit, ' if name.endswith(ends) else ''}{start}, {end}")
    return "\n".join([*lines, "```"])


def page(times: Mapping[str, Times], events: Sequence[Mapping[str, Any]], machine_: str) -> str:
    its = spans(events)
    needed = critical(its)
    whole = max(end for _, end in its.values())
    agent = max(end - start for name, (start, end) in its.items() if name.endswith("-k3s-agent"))
    ratio = whole / sum(needed.values())
    rows = []
    for task, said in TASKS.items():
        ours, other = times["program"][task], times["playbook"][task]
        pairs = [b / a for a, b in zip(ours, other, strict=True)]
        verdict = "met" if median(pairs) >= AIMS[task] else "missed"
        cells = " | ".join(bench.spread(values) for values in (ours, other, pairs))
        rows.append(f"| {said} | {cells} | at least {AIMS[task]:g}, {verdict} |")
    return f"""# How long it takes on real parts

Written by `make bench-lab`: do not edit. Everything is real here but what [coverage.md](coverage.md) names: the command
provider and k3s's packaging are stand-ins.

{machine_}

## Against Ansible

The same infrastructure in the same lab: pool, bridge, profiles, three nodes, the router, a server and two agents,
without Cilium. Ansible's playbook is in [tests/ansible](../tests/ansible/site.yml); the program runs whole, with what
is Cilium's left out by `--exclude`. The host, a new one each time, has LXD and FRR, and so does not measure downloads.
Each took turns in {len(times["program"]["first"])} rounds. Seconds by the clock, minimum, median and maximum; the ratio
is that of the pairs of a round.

| | program | | | playbook | | | playbook / program | | | aim for the median |
|---|---|---|---|---|---|---|---|---|---|---|
{bench.lines(rows)}

The program's times have its checks in them that the playbook has not: what is awaited, and the host's looks. What both
wait for is k3s's installer and the start of k3s: {agent} s of an agent in the run below.

## Where a first `up` spends its time

The whole stack by ConfigMap, on a host without LXD and FRR, from the engine's event log, what took {SHOWN_SECONDS} s or
more. Red is what cannot be avoided: {", ".join(f"{what} {seconds} s" for what, seconds in needed.items())}. Together
{sum(needed.values())} s; the `up` took {whole} s, {ratio:.2f} times as long. The aim is {MOST:g} at most: {
        "met" if ratio <= MOST else "missed"
    }.

{gantt(its)}
"""


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except store.BuildError as error:
        sys.exit(f"lab: {error}")
