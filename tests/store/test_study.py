"""A study: nothing is lost, nothing is overwritten, and what cannot be opened says why."""

import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import sqlalchemy
import torch

import workbench as wb
from tests.store.member import rename
from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError, DiskFullError, StudyError, UnknownNameError
from workbench.store import catalog, tables

CATALOGS = ("sqlite", "postgresql")


class Identity(Analysis):
    """Two coordinates as concepts; for tests."""

    name = "identity_for_tests"
    title = "Identity"
    method = "identity"
    fail: str = ""

    def run(self, context):
        """Return two concepts, or end in the way that was asked for."""
        if self.fail == "interrupt":
            raise KeyboardInterrupt
        if self.fail == "error":
            raise ZeroDivisionError("planned")
        return Result(concepts=[LinearConcepts("resid_post.0", torch.eye(context.activations.width())[:2])])


register(Identity)


def test_the_same_call_finds_the_finished_run(planted) -> None:
    study, acts, _, _ = planted()
    first = study.run("identity_for_tests", acts)
    again = study.run("identity_for_tests", acts)
    forced = study.run("identity_for_tests", acts, force=True)
    assert first.id == again.id != forced.id
    assert len(study.runs()) == 2


@pytest.mark.parametrize(
    ("how", "error", "status"), [("interrupt", KeyboardInterrupt, "cancelled"), ("error", ZeroDivisionError, "failed")]
)
def test_a_run_that_ends_early_leaves_nothing_but_its_record(planted, how, error, status) -> None:
    study, acts, _, _ = planted()
    with pytest.raises(error):
        study.run("identity_for_tests", acts, fail=how)
    assert list((study.folder / "runs").iterdir()) == []
    record = study.runs(status=None).iloc[-1]
    assert record["status"] == status
    assert len(study.concepts()) == 0
    assert len(study.run("identity_for_tests", acts).concepts) == 2


def test_a_run_stopped_at_its_very_end_leaves_no_concepts(planted, monkeypatch) -> None:
    study, acts, _, _ = planted()
    record = catalog._update_run

    def stopped(connection, run, values):
        if values.get("status") == "done":
            raise KeyboardInterrupt
        record(connection, run, values)

    # The last statement of the transaction that enters what the run found.
    monkeypatch.setattr(catalog, "_update_run", stopped)
    with pytest.raises(KeyboardInterrupt):
        study.run("identity_for_tests", acts)
    assert study.runs(status=None)["status"].tolist() == ["cancelled"]
    assert list((study.folder / "runs").iterdir()) == []
    assert len(study.concepts()) == 0


def test_what_enters_the_catalog_enters_whole_or_not_at_all(planted) -> None:
    study, acts, _, _ = planted()
    concept = study.run("identity_for_tests", acts).concepts[0]
    note = {"concept": concept.id, "text": "kept", "author": "ada", "at": tables.now()}
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        study.catalog.insert(tables.notes, [note, note | {"concept": "no such concept"}])
    assert study.catalog.frame(sqlalchemy.select(tables.notes)).empty
    name = {"concept": concept.id, "text": "kept", "source": "human", "author": "ada"}
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        study.catalog.add_names([name, name | {"concept": "no such concept"}])
    assert study.catalog.names().empty


def test_a_run_whose_process_was_killed_is_recorded_when_the_next_one_starts(planted) -> None:
    study, acts, _, _ = planted()
    done = study.run("identity_for_tests", acts)
    # As if it had been killed just before its record said that it was done.
    dead = study.catalog.run(done.id)["provenance"]
    dead["process"]["pid"] = 2**22 - 1
    study.catalog.update_run(done.id, status="running", provenance=dead)
    again = study.run("identity_for_tests", acts)
    assert again.id != done.id
    assert study.runs(status=None)["status"].tolist() == ["failed", "done"]
    assert study.concepts().ids == [f"{again.id}.0", f"{again.id}.1"]
    assert [path.name for path in (study.folder / "runs").iterdir()] == [again.id]


def test_a_study_whose_making_was_cut_short_is_made(tmp_path) -> None:
    folder = tmp_path / "study"
    (folder / "runs").mkdir(parents=True)
    (folder / "study.json.partial").write_text('{"form')
    wb.open_study(folder).close()
    assert json.loads((folder / "study.json").read_text())["format"] == 1


def test_concepts_are_sliced_like_a_list_and_keep_their_relevance(planted) -> None:
    study, acts, _, _ = planted()
    concepts = study.run("identity_for_tests", acts).concepts
    assert [concept.id for concept in concepts[1:3]] == concepts.ids[1:3]
    assert concepts[-1].id == concepts.ids[-1]
    assert len(concepts[:0]) == 0
    study.concept(concepts.ids[1]).rename("about omega", "ada")
    found = study.concepts("about omega")
    assert found[:1].best().id == concepts.ids[1]
    assert found[:2].relevance == found.relevance[:2]


def test_names_are_only_ever_appended_and_a_persons_name_stays_current(planted) -> None:
    study, acts, _, _ = planted()
    concept = study.run("identity_for_tests", acts).concepts[0]
    concept.rename("first", "ada")
    concept.rename("second", "grace")
    study.catalog.add_names([{"concept": concept.id, "text": "by machine", "source": "method", "author": "vocabulary"}])
    history = concept.names()
    assert history["text"].tolist() == ["first", "second", "by machine"]
    assert history["supersedes"].tolist()[1:] == history["id"].tolist()[:-1]
    assert concept.name == "second"


@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
def test_a_concept_is_found_by_its_name(planted) -> None:
    study, acts, _, _ = planted()
    concept = study.run("identity_for_tests", acts).concepts[1]
    concept.rename("second", "grace")
    assert study.concepts("second").best().id == concept.id


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x00", "x" * 201])
def test_a_name_must_be_visible_and_short(planted, text: str) -> None:
    study, acts, _, _ = planted()
    concept = study.run("identity_for_tests", acts).concepts[0]
    with pytest.raises(ConfigError):
        concept.rename(text)
    assert concept.names().empty


def test_several_processes_name_one_concept_and_no_name_is_lost(planted) -> None:
    study, acts, _, _ = planted()
    concept = study.run("identity_for_tests", acts).concepts[0]
    jobs = [(str(study.folder), concept.id, writer) for writer in range(4)]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(rename, jobs))
    history = concept.names()
    assert sorted(history["text"]) == sorted(f"name {w}.{n}" for w in range(4) for n in range(10))
    # Each name supersedes the one before it: no two writers superseded the same name.
    assert history["supersedes"].tolist()[1:] == history["id"].tolist()[:-1]


def test_a_study_refuses_another_model(tmp_path, minilm) -> None:
    with wb.open_study(tmp_path / "study") as study:
        study.catalog.set_info("model", json.dumps({"name": "gpt2", "weights_hash": "f" * 64, "source": {}, "kind": "decoder"}))
        with pytest.raises(StudyError, match=r"made with the model 'gpt2'.*not with 'minilm'"):
            study.capture(minilm, wb.load_dataset("film", limit=10), sites="resid_post.0")
        assert study.activations() == []


def test_a_study_says_the_type_of_the_weights_that_it_refuses(tmp_path, minilm) -> None:
    with wb.open_study(tmp_path / "study") as study:
        half = minilm.describe() | {"weights_hash": "f" * 64, "source": {"spec": "minilm", "dtype": "bfloat16"}}
        study.catalog.set_info("model", json.dumps(half))
        with pytest.raises(StudyError, match=r"'minilm' in bfloat16 \(weights ffffffff\), not with 'minilm' in float32"):
            study.capture(minilm, wb.load_dataset("film", limit=10), sites="resid_post.0")


def test_a_data_set_made_in_python_is_kept_with_the_study(tmp_path, minilm) -> None:
    import pandas as pd

    from workbench.datasets import dataset_from_table

    table = pd.DataFrame({"text": ["money in the bank", "a walk by the river"] * 6, "topic": ["money", "nature"] * 6})
    dataset = dataset_from_table(table, text="text", labels=["topic"])
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(minilm, dataset, sites="resid_post.0")
    with wb.open_study(tmp_path / "study") as study:
        again = study.dataset_of(study.activation_set(acts.id))
        assert again.hash == dataset.hash
        assert again.inputs() == dataset.inputs()


def test_what_is_not_a_study_is_refused_and_left_alone(tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear Ada")
    with pytest.raises(StudyError, match="not a study and not empty"):
        wb.open_study(tmp_path / "letters")
    assert [p.name for p in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    with pytest.raises(StudyError, match="There is no study"):
        wb.open_study(tmp_path / "nowhere", create=False)
    wb.open_study(tmp_path / "study").close()
    (tmp_path / "study" / "study.json").write_text('{"format": 99}')
    with pytest.raises(StudyError, match="format 99"):
        wb.open_study(tmp_path / "study")
    (tmp_path / "study" / "study.json").write_text("{")
    with pytest.raises(StudyError, match=r"study.json cannot be read: it is not JSON"):
        wb.open_study(tmp_path / "study")


def test_a_damaged_catalog_is_named(tmp_path) -> None:
    wb.open_study(tmp_path / "study").close()
    for path in (tmp_path / "study").glob("catalog.db*"):
        path.unlink()
    (tmp_path / "study" / "catalog.db").write_bytes(b"not a database at all, but long enough to look like a file" * 30)
    with pytest.raises(StudyError, match=r"catalog is damaged \(.*\): restore catalog.db from a copy"):
        wb.open_study(tmp_path / "study")


def test_a_newer_catalog_is_refused(planted) -> None:
    study, *_ = planted()
    study.catalog.set_info("schema", "999")
    with pytest.raises(StudyError, match="newer Concept Workbench"):
        wb.open_study(study.folder)


def test_unknown_things_list_the_known_ones(planted) -> None:
    study, acts, _, _ = planted()
    run = study.run("identity_for_tests", acts)
    with pytest.raises(UnknownNameError, match="Did you mean 'linear_probe'"):
        study.run("linear_prob", acts)
    with pytest.raises(ConfigError, match="Its options: fail"):
        study.run("identity_for_tests", acts, fial="error")
    with pytest.raises(UnknownNameError, match=f"Did you mean '{run.id}"):
        study.concept(f"{run.id}.9")
    with pytest.raises(UnknownNameError, match="There is no run"):
        study.get_run("nothing-of-the-kind")
    with pytest.raises(UnknownNameError, match="There is no filter"):
        study.concepts(methd="identity")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_one_sentence_and_the_study_is_whole(tiny_disk, minilm) -> None:
    texts = wb.load_dataset("film", limit=60)
    with wb.open_study(tiny_disk / "study") as study:
        acts = study.capture(minilm, texts, sites="resid_post.0")
        run = study.run("identity_for_tests", acts)
        run.concepts[0].rename("kept", "ada")
        with pytest.raises(DiskFullError, match="needs about"):
            study.capture(minilm, wb.load_dataset("film", limit=3000), sites="resid_post.*")
        (tiny_disk / "filler").write_bytes(b"\0" * (free_bytes(tiny_disk) - 20_000))
        with pytest.raises(DiskFullError, match="The disk is full"):
            study.report(tiny_disk / "report.html")
        with pytest.raises(DiskFullError, match="The disk is full"):
            study.run("identity_for_tests", acts, seed=5)
        (tiny_disk / "filler").unlink()
        assert not list(tiny_disk.glob("*.html*"))
        assert study.activations()[0].id == acts.id
        assert study.concept(run.concepts[0].id).name == "kept"
        assert study.run("identity_for_tests", acts, seed=5).record["status"] == "done"


def free_bytes(place) -> int:
    import shutil

    return shutil.disk_usage(place).free


def test_opening_a_study_needs_no_torch(planted) -> None:
    study, acts, _, _ = planted()
    study.run("identity_for_tests", acts)
    code = (
        "import sys, workbench as wb; s = wb.open_study(sys.argv[1]); s.runs(); s.concepts().table(); s.evidence();"
        " print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(study.folder)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
