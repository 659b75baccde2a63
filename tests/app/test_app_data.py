"""The page for data: is the study whole, what comes in, what goes out, and a run done again."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from harness import HOSTILE, Start, labelled, on_page, said, until
from safetensors.numpy import load_file
from streamlit.testing.v1 import AppTest

import workbench as wb
from workbench.jobs import jobs
from workbench.opening import open_study
from workbench.serving import Serving
from workbench.store.texts import keep_texts


@pytest.fixture
def folder(planted: Callable) -> Path:
    """A study of planted activations with a run."""
    study, acts, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    study.run("linear_probe", acts, labels="kind", controls=False)
    return study.folder


@pytest.fixture
def rooted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that the app reaches, besides those of the bundled data."""
    monkeypatch.setenv("WORKBENCH_APP", Serving(roots=[str(tmp_path)]).environment([])["WORKBENCH_APP"])
    return tmp_path


def page(start: Start, folder: Path, task: str = "") -> AppTest:
    test = on_page(start(folder), "data")
    return test.segmented_control[0].set_value(task).run() if task else test


def press(test: AppTest, label: str, seconds: float = 60) -> AppTest:
    """Click, and wait until what that started has ended."""
    labelled(test.button, label).click().run()
    until(test, lambda t: not t.get("progress"), seconds)
    return test


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the buttons that save a file would save, as they are drawn."""
    files, button = [], st.download_button

    def note(label: str, data: bytes, **more: Any) -> bool:
        files.append(data)
        return button(label, data, **more)

    monkeypatch.setattr(st, "download_button", note)
    return files


def test_what_is_whole_is_said_to_be_and_what_is_damaged_is_named_and_mended(start: Start, folder: Path) -> None:
    test = press(page(start, folder), "Check everything")
    assert "Nothing is broken" in test.success[0].value
    with open_study(folder) as study:
        run, concepts = study.get_run("linear_probe"), len(study.concepts())
        study.concept(study.concepts().ids[0]).rename(HOSTILE, "Ada")
    table = next((run.folder / "tables").glob("*.parquet"))
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    press(test, "Check everything")
    assert "1 broken" in test.error[0].value
    found = test.dataframe[1].value
    assert found["Name"].tolist() == [run.id]
    assert found["File"].str.contains(table.name).all()
    press(test, "Mend or drop what is broken")
    assert any("dropped" in s.value for s in test.success)
    press(test, "Check everything")
    assert "Nothing is broken" in test.success[0].value
    with open_study(folder) as study:
        assert concepts > 0 == len(study.concepts())
    assert HOSTILE.split("\x00", maxsplit=1)[0][:8] in next(folder.glob("dropped-*.json")).read_text()


def test_activations_are_brought_in_by_the_page(start: Start, tmp_path: Path, rooted: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    values = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    np.save(given / "resid_post.1.npy", values)
    rows = pd.DataFrame({"example": np.repeat(np.arange(20), 3), "position": np.tile(np.arange(3), 20), "token": "word"})
    rows.to_csv(given / "rows.csv", index=False)
    open_study(tmp_path / "study").close()
    test = page(start, tmp_path / "study", "Import activations")
    press(test, "Import")
    assert "Say which folder" in test.error[0].value
    labelled(test.text_input, "Or a folder").input(str(tmp_path / "nowhere"))
    press(test, "Import")
    assert "nowhere" in test.error[0].value
    labelled(test.text_input, "Or a folder").input("/etc")
    press(test, "Import")
    assert "reaches only files inside" in test.error[0].value
    labelled(test.text_input, "Or a folder").input(str(given))
    labelled(test.text_input, "Model").input("ours")
    labelled(test.selectbox, "Numbers on disk").select("float32")
    press(test, "Import")
    assert "60 rows of 20 examples" in test.success[0].value
    test.run()
    assert test.dataframe[0].value["Rows"].tolist() == [60]
    with open_study(tmp_path / "study") as study:
        acts = study.activation_set()
        assert np.array_equal(acts.read(site="resid_post.1"), values)
        assert study.model_record()["name"] == "ours"


def test_a_table_and_concepts_and_the_study_are_taken_out(start: Start, folder: Path, tmp_path: Path, saved: list[bytes]) -> None:
    test = page(start, folder, "Export")
    with open_study(folder) as study:
        run = study.get_run("linear_probe")
        metrics = run.metrics
    names = labelled(test.selectbox, "Table").options
    assert {"concepts", "names", "evidence", "runs", f"{run.id}.metrics"} <= set(names)
    labelled(test.selectbox, "Table").select(f"{run.id}.metrics").run()
    press(test, "Write the table")
    written = pd.read_csv(io.BytesIO(saved[-1]))
    assert np.allclose(written["value"], metrics["value"])
    test.segmented_control[1].set_value("a run's concepts").run()
    press(test, "Pack the concepts")
    with zipfile.ZipFile(io.BytesIO(saved[-1])) as archive:
        assert {"run.json", "set.json", "weights.safetensors", "tables/metrics.csv"} <= set(archive.namelist())
    test.segmented_control[1].set_value("the whole study").run()
    press(test, "Pack the study")
    (tmp_path / "packed.zip").write_bytes(saved[-1])
    with wb.unpack(tmp_path / "packed.zip", tmp_path / "unpacked") as study:
        assert study.get_run(run.id).metrics.equals(metrics)


def test_activations_are_written_into_a_folder_that_is_new(start: Start, folder: Path, tmp_path: Path, rooted: Path) -> None:
    test = page(start, folder, "Export")
    test.segmented_control[1].set_value("activations").run()
    labelled(test.text_input, "Folder").input(str(folder)).run()
    press(test, "Write safetensors")
    assert test.error
    labelled(test.text_input, "Folder").input(str(tmp_path / "out")).run()
    press(test, "Write safetensors")
    assert "Wrote" in test.success[0].value
    with open_study(folder) as study:
        rows = study.activation_set().read(site="resid_post.0")
    assert np.array_equal(next(iter(load_file(tmp_path / "out" / "resid_post.0.safetensors").values())), rows)


def test_a_study_gets_a_remote_and_what_is_lost_comes_back_from_it(
    start: Start, folder: Path, tmp_path: Path, rooted: Path
) -> None:
    test = page(start, folder, "Remote")
    assert labelled(test.button, "Copy to the remote").disabled
    labelled(test.text_input, "Address").input("nosuch://place").run()
    press(test, "Copy to the remote")
    assert "nosuch" in test.error[0].value
    labelled(test.text_input, "Address").input(f"file://{tmp_path}/there").run()
    press(test, "Copy to the remote")
    assert "Copied activations" in test.success[0].value.replace("\\", "")
    run = next((folder / "runs").iterdir()).name
    test = page(start, folder, "Remote")
    assert f"{tmp_path}/there" in said(test)
    shutil.rmtree(folder / "runs" / run)
    press(test, "Copy from the remote")
    assert run in test.success[-1].value.replace("\\", "")
    test = page(start, folder)
    labelled(test.toggle, "Read every byte at the remote too").set_value(True).run()
    assert "Nothing is broken" in press(test, "Check everything").success[0].value


@pytest.mark.slow
def test_a_run_is_done_again_and_held_against_the_first(start: Start, folder: Path) -> None:
    with open_study(folder) as study:
        first = study.get_run("linear_probe").id
    test = start(folder)
    test.query_params["run"] = first
    on_page(test, "runs")
    labelled(test.button, "Repeat this run").click().run()
    until(test, lambda t: bool(t.success) or bool(t.error))
    assert not test.error, test.error[0].value
    with open_study(folder) as study:
        (job,) = jobs(study)
        assert job.agrees
        again = study.get_run(job.run)
    assert again.record["provenance"]["repeats"] == first
    assert any("agree exactly" in i.value for i in test.info)
    test.query_params["run"] = job.run
    on_page(test, "runs")
    shown = test.dataframe[1].value
    assert shown["exact"].all()
    assert any(part.endswith("metrics.parquet") for part in shown["part"])


def test_every_task_is_said_in_words_for_an_empty_study(start: Start, tmp_path: Path) -> None:
    open_study(tmp_path / "bare").close()
    test = page(start, tmp_path / "bare")
    assert "workbench capture" in said(test)
    for task in test.segmented_control[0].options:
        assert not page(start, tmp_path / "bare", task).error


def test_other_labels_are_chosen_on_the_page(start: Start, folder: Path) -> None:
    with open_study(folder, create=False) as study:
        data = study.dataset_of(study.activation_set())
        study.relabel(pd.DataFrame({"text": data.inputs(), "half": ["x", "y"] * (len(data) // 2)}), labels=["kind"])
        before = study.dataset_of(study.activation_set()).hash
    test = page(start, folder, "Labels")
    assert "half" in test.dataframe[-1].value["column"].tolist()
    labelled(test.multiselect, "Labels").set_value(["half"])
    labelled(test.button, "Use these").click().run()
    assert not test.error
    with open_study(folder, create=False) as study:
        now = study.dataset_of(study.activation_set())
        assert [label.name for label in now.example_labels] == ["half"]
        assert now.hash != before
        assert study.dataset_of_run(study.get_run("linear_probe")).hash != now.hash


def test_a_quantity_stays_one_until_it_is_chosen_on_the_page(start: Start, folder: Path) -> None:
    with open_study(folder, create=False) as study:
        data = study.dataset_of(study.activation_set())
        years = pd.DataFrame({"text": data.inputs(), "year": [1900 + i % 60 for i in range(len(data))]})
        study.relabel(years.assign(desk=[f"desk {i % 20}" for i in range(len(data))]))
        assert study.dataset_of(study.activation_set()).label("year").kind == "numeric"
    for field, value, kind in (("Group", "desk", "numeric"), ("Labels", ["kind", "year"], "class")):
        test = page(start, folder, "Labels")
        labelled(test.multiselect if field == "Labels" else test.selectbox, field).set_value(value)
        labelled(test.button, "Use these").click().run()
        assert not test.error
        with open_study(folder, create=False) as study:
            now = study.dataset_of(study.activation_set())
            assert now.label("year").kind == kind
            assert now.table["group"].nunique() == 20


def test_what_depends_on_a_run_is_shown_before_it_is_deleted(start: Start, folder: Path) -> None:
    with open_study(folder, create=False) as study:
        acts, runs = study.activation_set().id, set(study.runs()["id"])
        sizes = study.usage().set_index("name")["files"]
    test = page(start, folder, "Size")
    shown = next(frame.value for frame in test.dataframe if "Needed by" in frame.value)
    assert shown.set_index("Name").loc[acts, "Files"] == sizes[acts]
    test.multiselect(key="to delete").set_value([acts]).run()
    below = next(frame.value for frame in test.dataframe if "Why" in frame.value)
    assert runs <= set(below["Name"])
    button = next(b for b in test.button if b.label.startswith("Delete "))
    assert button.disabled
    labelled(test.checkbox, "Delete these as well").check().run()
    next(b for b in test.button if b.label.startswith("Delete ")).click().run()
    until(test, lambda page: any("Deleted" in box.value for box in page.success), 60)
    with open_study(folder, create=False) as study:
        assert study.runs().empty
        assert study.activations() == []
        assert study.verify().empty
