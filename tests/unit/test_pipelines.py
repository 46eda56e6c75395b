"""What the pipelines of GitHub and GitLab may do to a stack, and that they ask for what there is."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
GITLAB = (ROOT / "docs/gitlab.md").read_text()


def jobs() -> dict[str, dict[str, Any]]:
    """Those of all workflows, by name."""
    return {name: its for path in WORKFLOWS for name, its in yaml.safe_load(path.read_text())["jobs"].items()}


def runs(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def gitlab() -> dict[str, Any]:
    (found,) = re.findall(r"```yaml\n(.*?)```", GITLAB, re.DOTALL)
    its: dict[str, Any] = yaml.safe_load(found)
    return its


def test_pipelines_make_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = "\n".join([*map(runs, jobs().values()), str(gitlab())])
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]+)", asked)) <= targets


def test_who_writes_a_stack_is_alone_is_not_cut_off_and_was_approved() -> None:
    writers = {name: its for name, its in jobs().items() if re.search(r"pulumi (up|destroy|refresh)", runs(its))}
    assert writers.keys() == {"stack-up"}
    for its in writers.values():
        assert its["environment"]
        assert its["concurrency"]["cancel-in-progress"] is False
        assert "github.event_name == 'push'" in its["if"]
    pipeline = gitlab()
    assert pipeline["up"]["rules"][0]["when"] == "manual"
    assert pipeline[pipeline["up"]["extends"]]["resource_group"]


def test_secrets_of_a_stack_are_only_where_somebody_approves_or_main_runs() -> None:
    with_secrets = {name: its for name, its in jobs().items() if "secrets." in str(its)}
    assert with_secrets.keys() == {"stack-preview", "stack-up", "drift"}
    assert all(its["environment"] and "vars.STACK != ''" in its["if"] for its in with_secrets.values())


def test_drift_fails_its_pipeline() -> None:
    assert "--refresh --expect-no-changes" in runs(jobs()["drift"])
    assert "--refresh --expect-no-changes" in gitlab()["drift"]["variables"]["WHAT"]
