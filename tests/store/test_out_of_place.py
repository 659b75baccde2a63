"""A link, a pipe, a file or a folder in the place of something else is a finding; a repair drops what nobody can miss."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import workbench as wb
from tests.store.conftest import state
from tests.store.hostile import PLANTED, called_by_bytes, put
from workbench.cli import main
from workbench.errors import StudyError
from workbench.paths import inside
from workbench.reports import export_tables

FOLDERS = ("runs/linear_probe-*", "activations", "activations/*", "datasets", "cache", "jobs", "jobs/a", "runs/a.partial")
FILES = ("datasets/*.parquet", "datasets/*.json", "cache/fetched-0.lock", "activations/0123456789abcdef.lock")
DEEPER = ("jobs/a/job.json", "cache/readouts/a/labels.json")
LINKS = ("link to a folder", "link to nothing", "pipe")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own" / "private").mkdir(parents=True)
    (tmp_path / "own" / "private" / "letters.txt").write_text("Dear Ada")
    return tmp_path / "own"


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "study"))


def place_of(folder: Path, pattern: str) -> str:
    found = next(iter(sorted(folder.glob(pattern))), folder / pattern)
    return found.relative_to(folder).as_posix()


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("pattern", [*FOLDERS, *FILES, *DEEPER])
def test_a_link_or_a_pipe_is_a_finding_and_goes(folder, own, pattern, kind) -> None:
    place, before = place_of(folder, pattern), state(own)
    put(pattern, kind)(folder, own)
    with wb.open_study(folder, create=False) as study:
        found = study.verify()
        assert place in set(found.loc[found["part"].eq("files"), "name"])
        assert len(study.usage()) > 0
        assert len(study.log()) > 0
        done = study.repair().set_index("name")
        assert done.loc[[place], "mended"].all()
        assert "private" in done["action"][place] if kind == "link to a folder" else True
        assert study.verify().empty
    assert not os.path.lexists(folder / place) or (folder / place).is_dir()
    assert state(own) == before


@pytest.mark.parametrize("pattern", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_a_finding_and_left_for_a_person(folder, own, pattern) -> None:
    place = place_of(folder, pattern)
    put(pattern, "file")(folder, own)
    content = (folder / place).read_bytes()
    with wb.open_study(folder, create=False) as study:
        for _ in range(2):
            found = study.verify().query("part == 'files'")
            assert found[["name", "state"]].to_numpy().tolist() == [[place, "broken"]]
            assert "a file, where a folder belongs" in found["problem"].iloc[0]
            assert len(study.usage()) > 0
            done = study.repair().set_index("name")
            assert not done["mended"][place].any()
        kind, *more = place.split("/")
        with pytest.raises(StudyError, match="where a folder belongs"):
            inside(folder, kind, *(more or ["0.json" if kind == "datasets" else "0" * 16]), "b")
    assert (folder / place).read_bytes() == content


@pytest.mark.parametrize("pattern", FILES)
def test_a_folder_in_the_place_of_a_file_is_a_finding(folder, own, pattern) -> None:
    place = place_of(folder, pattern)
    put(pattern, "folder")(folder, own)
    with wb.open_study(folder, create=False) as study:
        assert place in set(study.verify()["name"])
        assert not study.repair().set_index("name")["mended"][place]
    assert (folder / place / "inner.json").exists()


def test_a_record_of_a_data_set_that_cannot_be_read_is_a_finding(folder) -> None:
    path = next((folder / "datasets").glob("*.json"))
    path.write_text("[]")
    with wb.open_study(folder, create=False) as study:
        assert study.verify()[["part", "file", "state"]].to_numpy().tolist() == [["texts", path.name, "broken"]]


@pytest.mark.parametrize("kind", [*LINKS, "file", "missing"])
def test_without_the_folder_of_all_runs_a_repair_drops_none(folder, own, kind) -> None:
    before = state(own)
    shutil.move(folder / "runs", folder.parent / "moved")
    if kind != "missing":
        PLANTED[kind](folder / "runs", own)
    with wb.open_study(folder, create=False) as study:
        for _ in range(3):
            assert (study.verify()["state"] == "broken").any()
            done = study.repair()
            assert done[["part", "name", "mended"]].to_numpy().tolist() == [["files", "runs", False]]
            assert "no run was dropped. Put the folder back in its place; if it is lost, make an empty" in done["action"][0]
            assert len(study.runs()) == 1
            assert len(study.concepts()) > 0
            assert len(study.usage()) > 0
        # What the sentence says to do helps, either way.
        if kind != "missing":
            (folder / "runs").unlink()
        shutil.move(folder.parent / "moved", folder / "runs")
        assert study.verify().empty
        shutil.rmtree(folder / "runs")
        (folder / "runs").mkdir()
        assert study.repair()["mended"].all()
        assert study.runs().empty
        assert study.verify().empty
    assert state(own) == before


def test_a_link_at_a_deleted_run_does_not_keep_a_study_from_opening(folder, own) -> None:
    place, before = place_of(folder, FOLDERS[0]), state(own)
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        catalog.execute("UPDATE runs SET status = 'deleted'")
        catalog.execute("DELETE FROM concepts")
        catalog.commit()
    put(FOLDERS[0], "link to a folder")(folder, own)
    with wb.open_study(folder, create=False) as study:
        assert place in set(study.verify()["name"])
        study.repair()
        assert study.verify().query("part == 'files'").empty
    assert state(own) == before


@pytest.mark.parametrize(
    ("place", "kind", "state", "mended"),
    [
        ("runs/*", "folder", "broken", [False]),
        ("runs/*", "link to a folder", "broken", [True]),
        ("cache/readouts/*", "pipe", "broken", [True]),
        ("runs/linear_probe-*/*", "pipe", "broken", [True]),
        ("cache/x*", "file", "", []),
        ("cache*", "file", "", []),
        ("datasets/*.json", "file", "", []),
    ],
)
def test_what_is_called_by_bytes_that_are_no_text_is_named_by_what_can_be_seen(
    folder, own, tmp_path, capsys, place, kind, state, mended
) -> None:
    (folder / "cache" / "readouts").mkdir(parents=True, exist_ok=True)
    called_by_bytes(place, kind)(folder, own)
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            main([*options, "study", "verify", str(folder)])
        said = capsys.readouterr()
        assert end.value.code == (1 if state else 0)
        assert "Traceback" not in said.err
        assert ("udcff" in said.out) == bool(state)
    with wb.open_study(folder, create=False) as study:
        found = study.verify()
        assert found["state"].tolist() == ([state] if state else [])
        assert len(study.usage()) > 0
        study.pack(tmp_path / "packed.zip")
        assert study.repair()["mended"].tolist() == mended
        assert len(study.verify()) == mended.count(False)
    wb.unpack(tmp_path / "packed.zip", tmp_path / "packed").close()


def test_a_table_called_by_bytes_that_are_no_text_is_left_out_and_named(folder, own, tmp_path) -> None:
    called_by_bytes("runs/linear_probe-*/tables/*.parquet", "file")(folder, own)
    called_by_bytes("runs/linear_probe-*/figures/*.json", "file")(folder, own)
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        assert study.repair().empty
        (run,) = study.runs()["id"]
        assert r"\udcff\udcfe" in list(study.get_run(run).tables)
        assert r"\udcff\udcfe" in list(study.get_run(run).figures)
        written = export_tables(study, tmp_path / "tables")
        assert "left_out.csv" in {path.name for path in written}
        assert r"\udcff" in (tmp_path / "tables" / "left_out.csv").read_text()
        study.pack(tmp_path / "packed.zip")
        study.report(tmp_path / "report.html")
    with wb.unpack(tmp_path / "packed.zip", tmp_path / "packed") as packed:
        assert r"\udcff\udcfe" not in list(packed.get_run(run).tables)
