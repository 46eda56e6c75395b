"""What a change does to a stack, in the lines that a reviewer asks for.

usage: changes.py LOG     what a run has logged: PULUMI_DEBUG_COMMANDS=true pulumi preview --event-log LOG
       changes.py --on REF     what this checkout does to the stack `dev` that the commit REF brings up, simulated
       changes.py --of STACK [PULUMI ARGUMENTS]     what `up` would do to a stack of yours

The first line says what is created, changed, replaced and deleted, of what kind, whether a node or VM is among them and
whether traffic stops; then come the cost and the names. With --on the preview itself follows, with --of it comes first.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from policy import kinds
from policy.prices import AS_OF, MONTHLY
from scripts import demo
from scripts.preview import CACHE, POLICY, QUIET, ROOT, run

SAID = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted"}
MACHINES = {kinds.LINODE: "VM", kinds.LXD_INSTANCE: "node"}


@dataclass
class Step:
    """What becomes of one resource."""

    type: str
    name: str
    operation: str
    """A key of SAID, or `same`."""
    changed: Sequence[str]
    """Names of its inputs that are others."""
    plans: tuple[str | None, str | None]
    """Of a Linode: its plan before and after."""

    @property
    def kind(self) -> str:
        return MACHINES.get(self.type) or self.type.rpartition(":")[2]

    @property
    def anew(self) -> bool:
        return self.operation in ("replace", "delete")


def steps(log: str) -> list[Step]:
    """Of each resource one, in the order of the engine's event log."""
    found: dict[str, Step] = {}
    for line in log.splitlines():
        its = json.loads(line).get("resourcePreEvent", {}).get("metadata")
        # The stack, components and providers are not things that anybody has.
        if not its or its["type"].startswith(("pulumi:", "cilium-bgp:index:")):
            continue
        operation = its["op"]
        if "replace" in operation and operation != "remove-pending-replace":
            operation = "replace"
        before, after = (((its.get(when) or {}).get("inputs") or {}).get("type") for when in ("old", "new"))
        step = Step(
            its["type"],
            its["urn"].rpartition("::")[2],
            operation if operation in SAID else "delete" if "remove" in operation else "same",
            its.get("diffs") or (),
            (before, after),
        )
        known = found.get(its["urn"])
        if not known or known.operation != "replace" or step.plans[1]:
            found[its["urn"]] = step
    return list(found.values())


def interruptions(found: Sequence[Step]) -> Iterator[str]:
    """Why requests may fail, and for how long (docs/reliability.md has what was measured)."""
    for its in found:
        match its:
            case Step(type=kinds.LINODE, anew=True):
                yield f"for minutes, as {its.name} is made anew or goes, and everything on it"
            case Step(type=kinds.LINODE, operation="update") if "type" in its.changed:
                yield f"for minutes, as {its.name} restarts with another plan"
            case Step(type=kinds.LXD_INSTANCE, anew=True):
                yield f"for what runs on {its.name}, until its routes and pods are elsewhere (hold time)"
            case Step(type=kinds.RELEASE, anew=True):
                yield f"for minutes, as {its.name} goes, and the pods' network with it"
            case Step(type=kinds.RELEASE, operation="update"):
                yield f"for seconds on each node, as {its.name} starts its agents anew"
            case Step(name="router-frr", operation="update" | "replace" | "delete"):
                yield "for seconds, if the sessions' settings are others (router-frr)"
            case Step(kind="Service" | "Deployment", anew=True):
                yield f"for {its.name}, which is made anew or goes"
            case Step(type=kinds.FIREWALL, anew=True):
                yield f"from outside, while {its.name} is made anew"


def first_line(found: Sequence[Step]) -> str:
    changing = [its for its in found if its.operation in SAID]
    if not changing:
        return "Nothing changes."
    parts = []
    for operation, word in SAID.items():
        counted = Counter(its.kind for its in changing if its.operation == operation)
        listed = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counted.most_common())
        parts.append(f"{counted.total()} {word} ({listed})" if counted else f"0 {word}")
    machines = [f"{its.name} {SAID[its.operation]}" for its in changing if its.type in MACHINES]
    stops = list(interruptions(changing))
    return (
        f"{', '.join(parts)}. Nodes and VMs: {', '.join(machines) or 'none'}. "
        f"Traffic: {'may stop ' + '; '.join(stops) if stops else 'goes on'}."
    )


def cost(found: Sequence[Step]) -> str | None:
    """None without a Linode."""
    linodes = [its for its in found if its.type == kinds.LINODE]
    if not linodes:
        return None
    unknown = sorted({plan for its in linodes for plan in its.plans if plan and plan not in MONTHLY})
    if unknown:
        return f"Cost: not known of {', '.join(unknown)} (policy/prices.py)."
    before, after = (sum(MONTHLY[plan] for its in linodes if (plan := its.plans[when])) for when in (0, 1))
    if before == after:
        return f"Cost: {after} dollars a month, as before ({AS_OF})."
    return f"Cost: {before} dollars a month before, {after} after ({AS_OF})."


def summary(log: str) -> str:
    """The lines, of the engine's event log."""
    found = steps(log)
    lines = [first_line(found), cost(found)]
    for operation, word in SAID.items():
        names = [its.name for its in found if its.operation == operation]
        lines.append(f"{word}: {', '.join(names)}" if names else None)
    return "\n".join(filter(None, lines))


def on(ref: str) -> int:
    """Bring the stack up by another commit, and say what this checkout would do to it."""
    with tempfile.TemporaryDirectory(prefix="changes.", dir=ROOT / ".cache") as temporary:
        base, folder, log = Path(temporary, "base"), Path(temporary, "world"), Path(temporary, "log")
        run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(base), ref], dict(os.environ))
        try:
            lend(base)
            run(["make", "-C", str(base), "demo"], dict(os.environ))
            shutil.copytree(base / ".cache/demo", folder)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", base], check=False)
        os.environ["PULUMI_DEBUG_COMMANDS"] = "true"
        preview = Path(temporary, "preview")
        with preview.open("w") as output:
            code = demo.main("preview", "--event-log", str(log), folder=folder, output=output)
        if code == 0:
            print(summary(log.read_text()), end="\n\n")
        print(preview.read_text(), end="")
    return code


def of(stack: str, *arguments: str) -> int:
    """Preview a stack that is there, and say it in short."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="changes.", dir=CACHE) as folder:
        log = Path(folder, "log")
        command = ["pulumi", "preview", "--stack", stack, "--event-log", str(log), *POLICY, *arguments]
        if not sys.stdout.isatty():
            command += QUIET
        path = os.pathsep.join([str(ROOT / "policy"), os.environ["PATH"]])
        environment = os.environ | {"PULUMI_DEBUG_COMMANDS": "true", "PATH": path}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if code == 0:
            print(f"\n{summary(log.read_text())}")
    return code


def lend(base: Path) -> None:
    """Give the other checkout our tools, and our Python packages if it names the same."""
    (base / ".cache").mkdir()
    (base / ".cache/bin").symlink_to(ROOT / ".cache/bin")
    ours, its = ROOT / "requirements-dev.txt", base / "requirements-dev.txt"
    if ours.read_bytes() == its.read_bytes():
        (base / ".venv").symlink_to(sys.prefix)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--on", ref]:
            sys.exit(on(ref))
        case ["--of", stack, *arguments]:
            sys.exit(of(stack, *arguments))
        case [file]:
            print(summary(Path(file).read_text()))
        case _:
            sys.exit(__doc__)
