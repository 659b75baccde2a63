"""A study in one file: what comes out is what went in, and what comes from others cannot do harm."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.conftest import threads
from workbench.errors import StudyError


@pytest.fixture
def packed(steer_folder: Path, tmp_path: Path) -> Path:
    with wb.open_study(steer_folder) as study:
        study.concepts(method="SAE", limit=1)[0].rename("the first of them", author="Ada")
        return study.pack(tmp_path / "out" / "steer.zip")


def test_runs_names_and_tables_come_out_as_they_went_in(steer_folder: Path, packed: Path, tmp_path: Path) -> None:
    with wb.open_study(steer_folder) as study, wb.unpack(packed, tmp_path / "again") as again:
        pd.testing.assert_frame_equal(again.runs().drop(columns="provenance"), study.runs().drop(columns="provenance"))
        pd.testing.assert_frame_equal(again.catalog.current_names(), study.catalog.current_names())
        assert again.concepts(method="SAE", limit=1)[0].names()["author"].iloc[-1] == "Ada"
        for run in study.runs()["id"]:
            for name in study.get_run(run).tables:
                pd.testing.assert_frame_equal(again.get_run(run).tables[name], study.get_run(run).tables[name])


def test_activations_are_left_out_and_said_to_be_and_captured_again_to_the_byte_by_as_many_threads(
    steer_folder: Path, packed: Path, tmp_path: Path
) -> None:
    with wb.open_study(steer_folder) as study, wb.unpack(packed, tmp_path / "again") as again:
        acts, hollow = study.activation_set(), again.activation_set()
        assert hollow.left_out
        assert not acts.left_out
        assert hollow.n_rows == acts.n_rows
        with pytest.raises(StudyError, match="workbench recapture again"):
            hollow.read(slice(0, 1), "resid_post.4")
        with pytest.raises(StudyError, match="left out"):
            _ = hollow.index
        with threads(1):
            (made,) = again.recapture()
        assert made.id == acts.id
        assert not made.left_out
        pd.testing.assert_frame_equal(made.index, acts.index)
        for site in acts.sites:
            assert np.array_equal(made.read(site=site), acts.read(site=site))
        assert again.recapture() == []


def test_drawn_examples_are_drawn_again(minilm, tmp_path: Path) -> None:
    texts = wb.load_dataset("film", limit=40)
    column = texts.example_labels[0].name
    with threads(1), wb.open_study(tmp_path / "first") as study:
        acts = study.capture(minilm, texts, "embed", limit=10, seed=3, sample_by=column)
        study.pack(tmp_path / "study.zip")
        with wb.unpack(tmp_path / "study.zip", tmp_path / "again") as again:
            (made,) = again.recapture()
            assert made.id == acts.id
            assert np.array_equal(made.read(), acts.read())
            assert made.index["example"].tolist() == acts.index["example"].tolist() != list(range(10))


def test_without_activations_the_model_reads_an_example_again(steer_folder: Path, packed: Path, tmp_path: Path) -> None:
    with wb.open_study(steer_folder) as study, wb.unpack(packed, tmp_path / "again") as again:
        concept = study.concepts(method="SAE", limit=1)[0]
        example = int(concept.examples(1)["example"].iloc[0])
        before, after = concept.over_tokens(example), again.concept(concept.id).over_tokens(example)
        pd.testing.assert_frame_equal(before.drop(columns="value"), after.drop(columns="value"), check_dtype=False)
        # Captured activations are float16.
        np.testing.assert_allclose(after["value"], before["value"], atol=0.05)


def test_with_activations_nothing_is_left_out(steer_folder: Path, tmp_path: Path) -> None:
    with wb.open_study(steer_folder) as study:
        path = study.pack(tmp_path / "whole.zip", activations=True)
        with wb.unpack(path, tmp_path / "again") as again:
            assert not again.activation_set().left_out
            assert np.array_equal(
                again.activation_set().at("resid_post.4").read(), study.activation_set().at("resid_post.4").read()
            )


def test_nothing_tells_the_machine_and_no_unfinished_run_goes_out(steer_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(steer_folder, tmp_path / "steer"))
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        catalog.execute("update runs set status = 'failed' where analysis = 'linear_probe'")
        catalog.commit()
    with wb.open_study(folder) as study:
        path = study.pack(tmp_path / "steer.zip")
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if "linear_probe" in name]
        archive.extract("catalog.db", tmp_path)
        for name in archive.namelist():
            assert not name.endswith("config.json") or b'"host"' not in archive.read(name)
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as catalog:
        for (record,) in catalog.execute("select provenance from runs"):
            assert "process" not in json.loads(record)
            assert "packages" in json.loads(record)
        assert catalog.execute("select count(*) from runs").fetchone() == (1,)


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "runs/../../outside.txt", "C:\\outside.txt", "a\\..\\b"])
def test_a_file_of_others_writes_nothing_outside(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for known in ("study.json", "catalog.db", name):
            archive.writestr(known, "x")
    with pytest.raises(StudyError, match="outside the study"):
        wb.unpack(tmp_path / "evil.zip", tmp_path / "in" / "evil")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["evil.zip"]
    assert not list((tmp_path / "in").iterdir())


def test_a_study_that_was_zipped_again_with_its_folder_says_where_it_is(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as archive:
        for path in (tmp_path / "mine").rglob("*"):
            archive.write(path, f"mine/{path.relative_to(tmp_path / 'mine')}")
    with pytest.raises(StudyError, match=r"no packed study.* It holds 'mine/study\.json': unpack it yourself"):
        wb.unpack(tmp_path / "again.zip", tmp_path / "new")
    wb.unpack(tmp_path / "mine", tmp_path / "new").close()


def test_what_is_no_packed_study_is_refused(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    (tmp_path / "short.zip").write_bytes(packed.read_bytes()[:20_000])
    for name, words in {
        "text": "damaged",
        "other": "was not written by",
        "short": "damaged",
        "absent": "bundled name: steer",
    }.items():
        with pytest.raises(StudyError, match=words):
            wb.unpack(tmp_path / f"{name}.zip", tmp_path / "made" / name)
        assert not (tmp_path / "made" / name).exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(StudyError, match="there already"):
        wb.unpack(packed, tmp_path / "taken")
    assert (tmp_path / "taken" / "mine.txt").read_text() == "mine"
