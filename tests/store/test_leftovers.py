"""What a process was writing when it was killed: the next writer removes it, a check names it, and a repair drops it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import workbench as wb
from tests.store.forks import Fork
from workbench.errors import WorkbenchError
from workbench.paths import is_leftover
from workbench.writing import file_beside, folder_beside, leftovers_below, write_beside

# Where the workbench writes files and folders under names that are not theirs yet.
PLACES = [
    "study.json",
    "datasets/0123456789abcdef.json",
    "jobs/job-1/end.json",
    "cache/words.safetensors",
    "cache/unfinished/a/b",
]


def write(send: Callable[[int], None], target: Path, folder: bool) -> None:
    """Be in the middle of writing."""
    with folder_beside(target) if folder else file_beside(target) as partial:
        (partial / "some" if folder else partial).write_text("half")
        send(1)
        signal.pause()


@contextmanager
def writing(target: Path, folder: bool = False) -> Iterator[int | None]:
    """Another process that is in the middle of writing; its number."""
    process = Fork(write, target, folder)
    assert process.received() == 1
    try:
        yield process.pid
    finally:
        process.kill()


def named(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_leftover(path.name))


@pytest.mark.parametrize("folder", [False, True])
def test_what_somebody_writes_is_left_alone_and_of_a_killed_one_it_is_dropped(honest, tmp_path, folder) -> None:
    study = wb.open_study(shutil.copytree(honest, tmp_path / "study"), trust=True)
    for place in PLACES:
        target = study.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with writing(target.with_name("new"), folder):
            found = named(study.folder)
            assert len(found) == 1
            assert study.verify().empty
            assert study.repair().empty
            # Nor does another one that writes there take it.
            write_beside(target.with_name("other"), "whole")
            target.with_name("other").unlink()
            assert named(study.folder) == found
        said = study.verify()
        assert said[["part", "name", "state"]].values.tolist() == [
            ["files", found[0].relative_to(study.folder).as_posix(), "broken"]
        ]
        assert named(study.folder) == found
        assert study.repair()[["name", "mended"]].values.tolist() == [[said["name"][0], True]]
        assert named(study.folder) == []
        assert study.verify().empty
    study.close()


def test_who_writes_next_in_the_same_place_removes_it(tmp_path) -> None:
    with writing(tmp_path / "a"), writing(tmp_path / "b", folder=True):
        pass
    assert len(named(tmp_path)) == 2
    write_beside(tmp_path / "c", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_what_is_only_called_so_is_not_followed_or_removed(tmp_path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "kept").write_text("mine")
    place = tmp_path / "place"
    place.mkdir()
    for number, make in enumerate([lambda path: path.symlink_to(own), lambda path: path.symlink_to(own / "kept"), os.mkfifo]):
        make(place / f".{number:024x}.partial")
    (place / f".{'x' * 24}.partial").write_text("somebody's")
    before = sorted(place.iterdir())
    write_beside(place / "new", "whole")
    assert list(leftovers_below(tmp_path)) == []
    assert sorted(place.iterdir()) == sorted([*before, place / "new"])
    assert (own / "kept").read_text() == "mine"


@pytest.mark.parametrize("write", [file_beside, folder_beside])
def test_nothing_is_left_where_writing_fails(tmp_path, write: Callable) -> None:
    with pytest.raises(ZeroDivisionError), write(tmp_path / "new"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/x", "x" * 300, ".", "nowhere/\udcff/" + "y" * 300])
def test_where_there_can_be_no_file_it_is_a_sentence(honest, tmp_path, place) -> None:
    (tmp_path / "file").write_text("mine")
    with wb.open_study(shutil.copytree(honest, tmp_path / "study"), trust=True) as study:
        for write in (
            study.report, study.pack, lambda path: study.export_table("runs", path), wb.Recipe(name="a").save,
            lambda path: wb.unpack(study.folder, path), wb.open_study,
        ):  # fmt: skip
            with pytest.raises(WorkbenchError):
                write(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "nowhere") == ["file", "study"]
    assert (tmp_path / "file").read_text() == "mine"
    assert named(tmp_path) == []
