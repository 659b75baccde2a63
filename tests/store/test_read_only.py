"""A study whose folder may not be written is read, says so, and is left byte for byte as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import workbench as wb
from tests.store.conftest import state
from workbench.cli import main
from workbench.errors import StudyError, WorkbenchWarning
from workbench.jobs import jobs, start_job


@pytest.fixture
def sealed(honest: Path, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A maker of copies of the honest study that may not be written: on a read-only file system, or by permissions."""
    disk, root = tmp_path / "disk", os.geteuid() == 0
    disk.mkdir()
    if root and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("root may write anything here, and may not mount a file system")

    def make(change: Callable[[Path], None] = lambda _: None) -> Path:
        folder = Path(shutil.copytree(honest, disk / "study"))
        change(folder)
        if root:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        else:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        return folder

    yield make
    if root:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    else:
        for path in [disk, *disk.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IRWXU)


def opened(folder: Path) -> wb.Study:
    with pytest.warns(WorkbenchWarning, match="reading only"):
        return wb.open_study(folder, create=False, trust=True)


def test_it_is_read_and_not_written(sealed, tmp_path: Path) -> None:
    folder = sealed()
    before = state(folder)
    with opened(folder) as study:
        assert study.read_only
        assert "read only" in repr(study)
        concept, acts = study.concepts().best(), study.activation_set()
        assert concept.name == "what is left"
        assert acts.read().shape == (160, 4)
        assert study.verify().empty
        assert study.typical_norm("resid_post.0") > 0
        assert jobs(study) == []
        run = study.get_run("linear_probe")
        for write in (
            lambda: concept.rename("other"), lambda: concept.note("other"), lambda: study.collections.add("other", [concept.id]),
            lambda: study.run("linear_probe", acts), lambda: study.repeat(run), lambda: study.relabel(labels=[]), study.repair,
            lambda: study.keep_recipe(wb.Recipe(name="b")), lambda: study.examine(run, families=("detects",)),
            lambda: study.import_activations(folder.parent), lambda: start_job(study, "linear_probe", acts.id),
            lambda: study.keep_dataset(study.dataset_of(acts)),
            lambda: study.use_dataset(study.dataset_of(acts).relabel(labels=[])),
        ):  # fmt: skip
            with pytest.raises(StudyError, match=r"reading only.*workbench unpack"):
                write()
        study.pack(tmp_path / "packed.zip", activations=True)
        study.export_table("evidence", tmp_path / "evidence.csv")
        with pytest.raises(StudyError, match="may not be written"):
            study.export_table("evidence", folder / "evidence.csv")
    assert state(folder) == before
    with wb.unpack(tmp_path / "packed.zip", tmp_path / "mine") as mine:
        mine.concept(concept.id).rename("other")
        assert mine.verify().empty


def test_what_others_wrote_ahead_is_read(sealed) -> None:
    def ahead(folder: Path) -> None:
        files = [folder / f"catalog.db{ending}" for ending in ("", "-wal", "-shm")]
        with closing(sqlite3.connect(files[0], isolation_level=None)) as catalog:
            catalog.execute("PRAGMA wal_autocheckpoint=0")
            catalog.execute("UPDATE names SET text = 'written ahead'")
            kept = [path.read_bytes() for path in files]
        for path, content in zip(files, kept, strict=True):
            path.write_bytes(content)

    folder = sealed(ahead)
    before = state(folder)
    with opened(folder) as study:
        assert study.concepts().best().name == "written ahead"
    assert state(folder) == before


def test_the_command_line_says_so(sealed, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["show", str(sealed())])
    assert not end.value.code
    assert "Note: The study" in capsys.readouterr().err


def test_an_older_catalog_that_cannot_be_brought_up_says_how_to_copy_it(sealed, tmp_path: Path) -> None:
    def older(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
            catalog.execute("UPDATE info SET value = '1' WHERE key = 'schema'")
            catalog.commit()
            catalog.execute("PRAGMA journal_mode=DELETE")

    folder = sealed(older)
    with pytest.warns(WorkbenchWarning), pytest.raises(StudyError, match="workbench unpack"):
        wb.open_study(folder)
    with wb.unpack(folder, tmp_path / "mine") as mine:
        assert mine.concepts().best().name == "what is left"
