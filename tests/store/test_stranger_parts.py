"""What a stranger puts in the place of a run's parts is a finding with one sentence, and names no code that is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import workbench as wb
from tests.store.hostile_parts import ABSENT, BROKEN, EDITS
from workbench.errors import WorkbenchError
from workbench.store.parts import concepts_run


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy of an honest study that its user knows."""
    copy = Path(shutil.copytree(honest, tmp_path / "study"))
    wb.open_study(copy, trust=True).close()
    return copy


@pytest.mark.parametrize("name", BROKEN)
def test_a_part_that_cannot_be_read_is_found_left_out_of_a_report_and_dropped(folder: Path, name: str) -> None:
    BROKEN[name](folder, folder)
    with wb.open_study(folder, create=False) as study:
        found = study.verify()
        assert found["state"].tolist() == ["broken"] * len(found) != []
        assert found["part"].eq("run").all()
        assert found["problem"].str.len().max() < 3000
        assert not found["problem"].str.contains("\n").any()
        study.report(folder / "report.html", sections=["analyses"])
        assert study.repair()["mended"].all()
        assert study.verify().empty


@pytest.mark.parametrize("name", ABSENT)
def test_a_kind_is_a_name_among_entry_points_and_imports_nothing(folder: Path, name: str) -> None:
    ABSENT[name](folder, folder)
    with wb.open_study(folder, create=False) as study:
        found = study.verify()
        assert found["state"].tolist() == ["unchecked"]
        assert "can be read only where that kind is installed" in found["problem"][0]
        assert not len(study.repair())
        assert len(study.runs()) == 1


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_nothing_is_one_sentence(folder: Path, name: str) -> None:
    EDITS[name](folder, folder)
    with wb.open_study(folder, create=False) as study:
        run = study.get_run(study.runs()["id"].iloc[0])
        with pytest.raises(WorkbenchError):
            concepts_run(run)
        study.report(folder / "report.html", sections=["analyses"])
        study.verify()
