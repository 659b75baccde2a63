"""What is damaged in a study is found, named, and dropped; what people wrote is not lost with it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.analysis import Analysis, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts
from workbench.errors import StudyError
from workbench.processes import hold, identity
from workbench.store import tables
from workbench.store.texts import keep_texts

ZEROS, ONES = "0" * 16, "1" * 16


class Axes(Analysis):
    """Three coordinates as concepts, a table and tensors; for tests."""

    name = "tabled_axes_for_tests"
    title = "Axes"
    method = "axes"

    def run(self, context):
        """Return three concepts."""
        return Result(
            concepts=[LinearConcepts("resid_post.0", torch.eye(context.activations.width())[:3])],
            tables={"numbers": pd.DataFrame({"n": np.arange(5000)})},
            tensors={"grid": torch.arange(6.0)},
        )


register(Axes)


@pytest.fixture
def whole(planted):
    """A study with activations, a run, its examination, names, a note and a collection; and the run."""
    study, acts, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    run = study.run("tabled_axes_for_tests", acts)
    study.examine(run, families=("detects",), replicate=False)
    run.concepts[0].rename("the first", "ada")
    run.concepts[1].note("look again", "grace")
    study.catalog.add_names([{"concept": run.concepts[2].id, "text": "by machine", "source": "method", "author": "words"}])
    study.collections.add("for the paper", [run.concepts[0].id], "ada")
    assert study.verify().empty
    return study, run


def findings(study) -> list[tuple[str, str, str, str]]:
    return list(study.verify()[["part", "name", "file", "state"]].itertuples(index=False, name=None))


def flip(path: Path, place: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("how", [flip, cut, Path.unlink])
@pytest.mark.parametrize("file", ["site000-00000.bin", "index.parquet", "manifest.json"])
def test_a_damaged_file_of_a_set_is_named_and_its_rows_are_dropped(whole, how, file) -> None:
    study, _ = whole
    acts = study.activation_set()
    if file == "manifest.json" and how is flip:
        (acts.folder / file).write_text("{")
    else:
        how(acts.folder / file)
    assert findings(study) == [("activations", acts.id, file, "broken")]
    done = study.repair()
    assert done[["part", "name", "mended"]].to_numpy().tolist() == [["activations", acts.id, True]]
    assert study.verify().empty
    if file == "manifest.json":
        assert not acts.folder.exists()
    else:
        # What the runs read is still known, and can be captured again.
        assert study.activation_set(acts.id).left_out
        with pytest.raises(StudyError, match="Capture them again"):
            study.activation_set(acts.id).read()
    assert not list(study.folder.glob("dropped-*"))


@pytest.mark.parametrize("how", [flip, cut, Path.unlink])
@pytest.mark.parametrize(
    "file", ["tables/numbers.parquet", "tensors.safetensors", "concepts/0/weights.safetensors", "config.json"]
)
def test_a_damaged_file_of_a_run_is_named_and_what_people_said_is_kept(whole, how, file) -> None:
    study, run = whole
    examined = study.get_run("examine").id
    how(run.folder / file)
    assert findings(study) == [("run", run.id, file, "broken")]
    done = study.repair()
    assert done["name"].tolist() == [run.id, examined]
    assert done["mended"].all()
    assert study.verify().empty
    assert study.runs().empty
    assert study.runs(None)["status"].tolist() == ["failed", "failed"]
    assert study.concepts().ids == []
    assert study.evidence().empty
    assert list((study.folder / "runs").iterdir()) == []
    (kept,) = study.folder.glob("dropped-*.json")
    said = json.loads(kept.read_text())
    assert [(n["text"], n["author"]) for n in said["names"]] == [("the first", "ada")]
    assert [(n["text"], n["author"]) for n in said["notes"]] == [("look again", "grace")]
    assert [c["name"] for c in said["collections"]] == ["for the paper"]
    again = study.run("tabled_axes_for_tests", study.activation_set())
    assert len(again.concepts) == 3
    assert study.verify().empty


def test_a_run_without_its_folder_is_named(whole) -> None:
    study, run = whole
    shutil.rmtree(run.folder)
    assert findings(study) == [("run", run.id, "", "broken")]
    study.repair()
    assert study.verify().empty


def test_nothing_is_dropped_where_what_people_said_cannot_be_kept(whole, monkeypatch) -> None:
    import errno

    from workbench.errors import DiskFullError
    from workbench.store import dropped

    study, run = whole
    flip(run.folder / "tables" / "numbers.parquet")

    def full(*_a, **_k):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(dropped.os, "fsync", full)
        with pytest.raises(DiskFullError):
            study.repair()
    assert study.catalog.names()["text"].tolist() == ["the first", "by machine"]
    assert run.folder.is_dir()
    study.repair()
    assert study.verify().empty


def test_concepts_that_the_catalog_lacks_are_counted(whole) -> None:
    study, run = whole
    with study.catalog.changing() as connection:
        for table in (tables.names, tables.evidence):
            connection.execute(table.delete().where(table.c.concept == f"{run.id}.2"))
        connection.execute(tables.concepts.delete().where(tables.concepts.c.id == f"{run.id}.2"))
    assert findings(study) == [("run", run.id, "", "broken")]
    assert "3 concepts, and the catalog 2" in study.verify()["problem"][0]


def test_evidence_that_never_entered_the_catalog_is_entered(whole) -> None:
    study, _ = whole
    before = study.evidence().drop(columns="id")
    with study.catalog.changing() as connection:
        connection.execute(tables.evidence.delete())
    assert [(part, file) for part, _, file, _ in findings(study)] == [("run", "tables/evidence.parquet")]
    study.repair()
    pd.testing.assert_frame_equal(study.evidence().drop(columns="id"), before, check_dtype=False)
    assert study.verify().empty


def test_rows_about_concepts_that_are_not_there_are_dropped_and_kept(whole) -> None:
    study, run = whole
    with closing(sqlite3.connect(study.folder / "catalog.db")) as catalog:
        for table in ("names", "evidence"):
            catalog.execute(f"update {table} set concept = 'gone.0' where concept = ?", (run.concepts[0].id,))
        catalog.commit()
    assert {(part, name) for part, name, _, _ in findings(study)} == {("catalog", "names"), ("catalog", "evidence")}
    done = study.repair()
    assert set(done["name"]) == {"names", "evidence"}
    (kept,) = study.folder.glob("dropped-*.json")
    assert [n["text"] for n in json.loads(kept.read_text())["names"]] == ["the first"]
    assert study.verify().empty
    assert len(study.catalog.names()) == 1


def test_the_rests_of_killed_work_are_dropped_and_what_goes_on_is_kept(whole) -> None:
    study, _ = whole
    dead = identity() | {"pid": 2**22 - 1}
    row = {"analysis": "x", "config": {}, "seed": 0, "inputs": {}, "started": tables.now(), "provenance": {"process": dead}}
    study.catalog.insert(tables.runs, [row | {"id": "killed", "status": "running"}, row | {"id": "old", "status": "failed"}])
    for name in (
        "runs/killed.partial",
        "runs/old",
        "runs/lost.partial",
        f"activations/{ZEROS}.partial",
        f"activations/{ONES}.partial",
    ):
        (study.folder / name).mkdir()
    (study.folder / "activations" / f"{ONES}.partial" / "journal.jsonl").write_text("{}\n")
    found = findings(study)
    assert set(found) == {
        ("run", "killed", "", "broken"), ("run", "old", "", "broken"), ("run", "lost.partial", "", "broken"),
        ("activations", f"{ZEROS}.partial", "", "broken"), ("activations", f"{ONES}.partial", "", "unfinished"),
    }  # fmt: skip
    with hold(study.folder / "activations" / f"{ONES}.lock", "It"):
        assert "captured now" in study.verify().set_index("name").loc[f"{ONES}.partial", "problem"]
    study.repair()
    assert findings(study) == [("activations", f"{ONES}.partial", "", "unfinished")]
    assert study.catalog.run("killed")["status"] == "failed"


def test_a_set_that_has_not_got_its_name_yet_is_no_set_of_the_study(whole) -> None:
    study, _ = whole
    acts = study.activation_set()
    acts.folder.rename(acts.folder.with_suffix(".partial"))
    assert study.activations() == []
    assert "gives it its name" in study.verify()["problem"][0]
    assert study.repair().empty
    assert acts.folder.with_suffix(".partial").is_dir()


def test_runs_are_not_dropped_for_what_a_catalog_has_lost(whole) -> None:
    study, run = whole
    folder = study.folder
    study.close()
    for path in folder.glob("catalog.db*"):
        path.unlink()
    with wb.open_study(folder) as study:
        assert {state for *_, state in findings(study)} == {"broken"}
        done = study.repair()
        assert not done["mended"].any()
        assert done["action"].str.contains("restore catalog.db").all()
        assert run.folder.is_dir()


def test_a_damaged_database_is_named_and_left_alone(whole) -> None:
    study, run = whole
    with study.catalog.engine.connect() as connection:
        connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        page = connection.exec_driver_sql("select rootpage from sqlite_master where name = 'ix_names_concept'").scalar_one()
        size = connection.exec_driver_sql("pragma page_size").scalar_one()
    folder = study.folder
    study.close()
    with (folder / "catalog.db").open("r+b") as file:
        file.seek((page - 1) * size + 3)
        file.write(b"\0\0")
    with wb.open_study(folder) as study:
        assert ("catalog", "catalog.db", "", "broken") in findings(study)
        done = study.repair().set_index("name")
        assert not done.loc["catalog.db", "mended"]
        assert run.folder.is_dir()


def test_kept_texts_that_changed_are_named(whole) -> None:
    study, _ = whole
    (path,) = (study.folder / "datasets").glob("*.parquet")
    table = pd.read_parquet(path)
    table.loc[0, "text"] = "other words"
    table.to_parquet(path)
    assert [(part, file) for part, _, file, _ in findings(study)] == [("texts", path.name)]
    assert not study.repair()["mended"].any()
    assert path.exists()


def test_what_is_older_than_checksums_is_said_to_have_none(whole) -> None:
    study, run = whole
    manifest = study.activation_set().folder / "manifest.json"
    manifest.write_text(json.dumps({k: v for k, v in json.loads(manifest.read_text()).items() if k != "files"}))
    (run.folder / "checksums.json").unlink()
    assert {(part, state) for part, _, _, state in findings(study)} == {("activations", "unchecked"), ("run", "unchecked")}
    assert study.repair().empty


def test_a_study_that_was_packed_without_activations_is_whole(whole, tmp_path: Path) -> None:
    study, _ = whole
    study.pack(tmp_path / "packed.zip")
    with wb.unpack(tmp_path / "packed.zip", tmp_path / "again") as again:
        assert again.activation_set().left_out
        assert again.verify().empty
        assert again.repair().empty
        assert again.log()["depth"].tolist() == [0, 1, 2]


def call(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0), capsys.readouterr().out


def test_verify_and_repair_by_commands(whole, capsys) -> None:
    study, run = whole
    folder = str(study.folder)
    assert call(capsys, "study", "verify", folder) == (0, "Nothing is broken.\n")
    assert call(capsys, "--json", "study", "verify", folder) == (0, "[]\n")
    flip(run.folder / "tables" / "numbers.parquet")
    code, out = call(capsys, "study", "verify", folder)
    assert code == 1
    assert f"broken: run {run.id}/tables/numbers.parquet: Its checksum is not that" in out
    code, out = call(capsys, "--json", "study", "verify", folder)
    assert code == 1
    assert [row["file"] for row in json.loads(out)] == ["tables/numbers.parquet"]
    code, out = call(capsys, "--json", "study", "repair", folder)
    assert code == 0
    assert json.loads(out)[0]["name"] == run.id
    assert call(capsys, "study", "verify", folder)[0] == 0
    assert call(capsys, "study", "repair", folder) == (0, "Nothing is broken.\n")
    assert call(capsys, "study", "verify", f"{folder}-nowhere")[0] == 2


def test_reading_and_packing_every_byte_say_how_far_they_are(whole, tmp_path: Path) -> None:
    study, _ = whole
    sizes = [
        path.stat().st_size for kind in ("activations", "runs") for path in (study.folder / kind).rglob("*") if path.is_file()
    ]
    packed = tmp_path / "packed.zip"
    steps = {
        "reading every byte": lambda show: study.verify(progress=show),
        "packing the study": lambda show: study.pack(packed, activations=True, progress=show),
        "unpacking the study": lambda show: wb.unpack(packed, tmp_path / "made", progress=show).close(),
    }
    for name, step in steps.items():
        said: list[tuple[int, int, str]] = []
        step(partial(_note, said))
        done = [part for part, *_ in said]
        wholes = {whole for _, whole, _ in said}
        assert {text for *_, text in said} == {name}
        assert (done[0], done) == (0, sorted(done))
        assert len(wholes) == 1
        if name == "reading every byte":
            # A manifest is read before anything is held against it, and is not counted.
            assert wholes == {sum(sizes)}
            assert done[-1] > 0.9 * sum(sizes)
        else:
            assert done[-1] == wholes.pop() > 0.9 * sum(sizes)


def _note(said: list[tuple[int, int, str]], *update) -> None:
    said.append(update)


def test_the_log_is_a_tree(whole, capsys) -> None:
    study, run = whole
    acts, examined = study.activation_set().id, study.get_run("examine").id
    table = study.log()
    assert list(zip(table["depth"], table["id"], strict=True)) == [(0, acts), (1, run.id), (2, examined)]
    assert table["what"].tolist() == ["activations", "tabled_axes_for_tests", "examine"]
    assert table["parents"].tolist() == [[], [acts], [run.id]]
    assert table["seconds"].iloc[1:].gt(0).all()
    assert table["peak_mib"].iloc[1:].gt(0).all()
    code, out = call(capsys, "study", "log", str(study.folder))
    assert code == 0
    assert f"\n    {examined}" in out
    code, out = call(capsys, "--json", "study", "log", str(study.folder))
    assert [row["depth"] for row in json.loads(out)] == [0, 1, 2]
    # A set that is gone leaves its runs in the log.
    shutil.rmtree(study.activation_set().folder)
    assert study.log()["id"].tolist() == [run.id, examined]
