"""docs/troubleshooting.md: who has a message of the program finds it there, and none that the program does not say."""

import re
from pathlib import Path

import pytest

from scripts import troubleshooting_docs
from scripts.troubleshooting_docs import MARK, PAGE, STEPS, main, page

ROOT = Path(__file__).parents[2]
TEXT = PAGE.read_text()
SHELL = "".join(path.read_text() for path in sorted((ROOT / "components/scripts").glob("*.sh")))


def test_the_page_has_what_the_program_says_today() -> None:
    assert page() == TEXT, "run: python scripts/troubleshooting_docs.py"


def test_every_failure_of_a_script_is_there() -> None:
    messages = re.findall(r'\b(?:fail|problem|await \S+|await "\S+ "?\S+") "([^"]+)', SHELL)
    assert len(messages) > 80
    parts = [part for said in messages for part in re.split(r"\$(?:[\w*#]|\{[^}]*\}|\(.*)+", said)]
    assert [part for part in parts if re.search("[a-z]{2}", part) and part not in TEXT] == []


@pytest.mark.parametrize("file", ["status/layers.py", "status/look.py"])
def test_every_finding_of_status_is_there(file: str) -> None:
    found = re.findall(r'(?:Finding\(|what = )\s*f?"(.*?)"[,)\n]', (ROOT / file).read_text())
    assert len(found) > 5
    for text in found:
        for said in re.split(r"\{.*?\}", text):
            assert said in TEXT


def test_what_the_program_says_no_more_is_not_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "troubleshooting.md"
    old.write_text(TEXT + "- `` the moon is in the way ``\n")
    monkeypatch.setattr(troubleshooting_docs, "PAGE", old)
    monkeypatch.setattr("sys.argv", ["troubleshooting_docs.py", "--check"])
    assert main() == 1
    monkeypatch.setattr("sys.argv", ["troubleshooting_docs.py"])
    assert main() == 0
    assert old.read_text() == TEXT


def test_a_new_script_says_in_which_step_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubleshooting_docs, "STEPS", {key: its for key, its in STEPS.items() if key != "The router"})
    with pytest.raises(SystemExit, match=r"frr\.sh.*: in no step"):
        page()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", TEXT.partition(MARK)[0])
    assert len(links) > 5
    for file, anchor in links:
        headings = re.findall(r"^#+ (.*)", (PAGE.parent / (file or PAGE.name)).read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors
