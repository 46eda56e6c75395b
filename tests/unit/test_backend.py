"""The state of a run that was killed while it wrote."""

from pathlib import Path

import pytest

from scripts import backend


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / ".pulumi/stacks/cilium-bgp"
    folder.mkdir(parents=True)
    (folder / "dev.json.bak").write_text('{"former": 1}')
    return folder / "dev.json"


@pytest.mark.parametrize("cut_off", ["", '{"version": 3, "che'])
def test_a_state_that_was_cut_off_gives_way_to_the_one_before(file: Path, tmp_path: Path, cut_off: str) -> None:
    file.write_text(cut_off)
    assert backend.restore(tmp_path, "dev")
    assert file.read_text() == '{"former": 1}'


def test_a_whole_state_stays(file: Path, tmp_path: Path) -> None:
    assert not backend.restore(tmp_path, "dev")
    file.write_text('{"version": 3}')
    assert not backend.restore(tmp_path, "dev")
    assert file.read_text() == '{"version": 3}'
