"""Folders in each other, more of them than Python may call itself: named and dropped as anything else that is out of place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench as wb
from tests.test_paths import dig
from workbench.cli import main
from workbench.errors import StudyError
from workbench.paths import remove_tree

LEVELS = 1500
PLACES = ("cache/readouts", "runs/*/more", "more", "runs/x.partial")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that goes when the test ends: pytest could not remove it."""
    yield tmp_path / "place"
    remove_tree(tmp_path / "place")


@pytest.fixture
def folder(honest: Path, place: Path) -> Path:
    """A copy of the honest study with another run in it."""
    copy = Path(shutil.copytree(honest, place / "study"))
    with wb.open_study(copy, create=False) as study:
        study.run("linear_probe", study.activation_set(), labels="kind", seed=1)
    return copy


@pytest.mark.parametrize("pattern", PLACES)
def test_a_study_with_deep_folders_is_checked_packed_and_mended(folder: Path, place: Path, pattern: str, capsys) -> None:
    runs = {path.name for path in (folder / "runs").iterdir()}
    run = min(runs) if "*" in pattern else ""
    name, ours = pattern.replace("*", run), pattern != "more"
    dig(folder / name, LEVELS)
    with pytest.raises(SystemExit) as end:
        main(["study", "verify", str(folder)])
    said = capsys.readouterr()
    assert end.value.code == (1 if ours else 0)
    assert "Traceback" not in said.err
    (line,) = said.out.splitlines()[:-1]
    assert line.startswith("broken: " if ours else "unchecked: files more/a/a/")
    assert Path(name).name in line
    with wb.unpack(folder, place / "made") as made:
        assert set(made.runs()["id"]) == runs
        assert made.verify().empty
    with wb.open_study(folder, create=False) as study:
        assert len(study.usage()) > 0
        study.pack(place / "packed.zip")
        if run:
            with pytest.raises(StudyError, match="a folder deeper than any of a study"):
                study.get_run(run)
        done = study.repair()
        assert done["mended"].tolist() == [True] * ours
        assert list(study.verify()["state"]) == ([] if ours else ["unchecked"])
        assert set(study.runs()["id"]) == runs - {run}
        assert len(study.get_run(max(runs)).concepts) > 0
        assert study.usage()["name"].isin(runs - {run}).sum() == len(runs - {run})
    with wb.unpack(place / "packed.zip", place / "packed") as packed:
        assert set(packed.runs()["id"]) == runs
    assert (folder / name).exists() == (pattern in {"more", "cache/readouts"})


def test_a_deleted_run_with_deep_folders_goes(folder: Path) -> None:
    run = max(path.name for path in (folder / "runs").iterdir())
    dig(folder / "runs" / run / "more", LEVELS)
    with wb.open_study(folder, create=False) as study:
        study.delete(run, with_dependents=True)
        assert study.verify().empty
    assert not (folder / "runs" / run).exists()
