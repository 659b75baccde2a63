"""An examination and a comparison of methods done again: on what they read then, and the evidence that is shown stays."""

import json

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import torch

import workbench as wb
from workbench.analysis import Analysis, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError
from workbench.evidence.trial import Trial, TrialOptions
from workbench.store import tables
from workbench.store.texts import keep_texts

FAMILIES = ("detects", "informs", "locates", "stable", "named")
NAMES = ("omega", "left", "money", "weather", "music", "sport", "king", "river")


class Planted(Analysis):
    """The planted directions and six of noise, moved a little by the seed; for tests."""

    name = "planted_for_repeats"
    title = "Planted"
    method = "planted"
    directions: tuple[tuple[float, ...], ...]
    apart: float = 0.02

    def run(self, context):
        """Return them."""
        generator = torch.Generator().manual_seed(context.seed)
        noise = torch.randn(8, context.activations.width(), generator=generator)
        noise[: len(self.directions)] *= self.apart
        noise[: len(self.directions)] += torch.tensor(self.directions)
        return Result(concepts=[LinearConcepts("resid_post.0", noise, table=pd.DataFrame({"label": [""] * 8}))])


class Other(Planted):
    """The same by another method; for tests."""

    name = "others_for_repeats"
    method = "other"


register(Planted)
register(Other)


@pytest.fixture
def examined(planted):
    """A study whose eight concepts have names and were examined; the run of the concepts, and that of the examination."""
    study, acts, dataset, directions = planted(examples=200)
    keep_texts(study.folder, dataset)
    run = study.run("planted_for_repeats", acts, directions=directions.tolist())
    for concept, name in zip(run.concepts, NAMES, strict=True):
        concept.rename(name, "ada")
    study.examine(run, families=FAMILIES, seed=4)
    return study, run, study.get_run("examine")


def test_an_examination_agrees_exactly_and_what_is_shown_stays(examined) -> None:
    study, run, first = examined
    shown = study.catalog.frame(sa.select(tables.evidence))
    folder = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    # What was not there then is not read: another replica, and a run of another method.
    study.run("planted_for_repeats", study.activation_set(), seed=9, **run.config)
    done = study.repeat(first)
    assert done.agrees
    assert done.table["exact"].all()
    assert {"tables/evidence.parquet", "tables/labels.parquet", "tables/detection.parquet"} <= set(done.table["part"])
    assert done.remarks == ()
    assert done.run.id == f"{first.id}-2"
    assert done.run.record["seed"] == 4
    assert done.run.config == first.config
    assert done.run.record["inputs"] == first.record["inputs"]
    assert first.record["inputs"]["beside"]["replica"].startswith("planted_for_repeats")
    assert len(done.run.tables["evidence"]) == len(shown) > 20
    pd.testing.assert_frame_equal(study.catalog.frame(sa.select(tables.evidence)), shown)
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == folder
    assert study.get_run("examine").id == first.id
    log = study.log().set_index("id")
    assert log.loc[done.run.id, "parents"] == [first.id, run.id]
    assert log.loc[done.run.id, "what"] == "examine, repeated"
    assert study.verify().empty
    assert study.repair().empty


def test_names_that_changed_are_scored_as_they_were_and_that_is_said(examined) -> None:
    study, run, first = examined
    run.concepts[2].rename("finance", "ada")
    run.concepts[2].rename("banking", "ada")
    done = study.repeat(first)
    assert done.agrees
    assert done.table["exact"].all()
    (remark,) = done.remarks
    assert remark.startswith(f"Concepts of {run.id} have other names by now: the repetition scored those")
    assert run.concepts[2].name == "banking"
    # An examination of the names of today is another one.
    study.examine(run, families=FAMILIES, seed=4)
    newest = study.get_run("examine")
    assert newest.id.removesuffix("-2") != first.id
    assert newest.record["inputs"]["names"] != first.record["inputs"]["names"]


def test_names_that_are_gone_are_the_reason_that_is_given(examined) -> None:
    study, _, first = examined
    names = tables.names
    with study.catalog.changing() as connection:
        connection.execute(sa.delete(names).where(names.c.text == "money"))
    done = study.repeat(first)
    assert not done.agrees
    assert "not kept: evidence of the family named differs" in done.remarks[0]
    differing = done.table[~done.table["agrees"]]
    assert differing["part"].tolist() == ["tables/evidence.parquet"]
    apart = first.tables["evidence"].compare(done.run.tables["evidence"])
    metrics = first.tables["evidence"].loc[apart.index, "metric"]
    assert set(metrics) == {"named.auroc"}


def test_a_concept_that_is_another_by_now_is_reported_where_it_is(examined) -> None:
    study, run, first = examined
    path = run.folder / "concepts" / "0"
    whole = LinearConcepts.load(path)
    turned = whole.weights.clone()
    turned[1] += 0.1 * turned[5]
    LinearConcepts("resid_post.0", turned, table=whole.table).save(path)
    with wb.open_study(study.folder) as later:
        done = later.repeat(first.id)
    assert not done.agrees
    assert done.remarks == ()
    table = done.table.set_index("part")
    column, row = table.loc["tables/detection.parquet", "where"].split(", row ")
    assert column in {"validation", "test"}
    assert first.tables["detection"].loc[int(row), "concept"] == f"{run.id}.1"
    evidence = first.tables["evidence"]
    column, row = table.loc["tables/evidence.parquet", "where"].split(", row ")
    one, two = (found.tables["evidence"] for found in (first, done.run))
    assert np.isclose(table.loc["tables/evidence.parquet", "difference"], abs(one[column] - two[column]).max())
    assert evidence.loc[int(row), "concept"] == f"{run.id}.1"


def test_a_comparison_of_methods_is_of_the_same_runs_again(planted) -> None:
    study, acts, _, directions = planted()
    one = study.run("planted_for_repeats", acts, directions=directions.tolist())
    study.run("others_for_repeats", acts, directions=directions.tolist(), apart=0.1)
    pairs = study.counterparts()
    assert pairs["verdict"].eq("same").sum() >= 4
    first = study.get_run("counterparts")
    # By now, the newest of its method is another one.
    newer = study.run("planted_for_repeats", acts, directions=directions.tolist(), apart=0.5)
    study.catalog.update_run(newer.id, started="2999-01-01T00:00:00+00:00")
    done = study.repeat(first)
    assert done.agrees
    assert done.table["exact"].all()
    assert done.run.config["runs"] == first.config["runs"]
    assert one.id in first.config["runs"]
    study.counterparts()
    assert newer.id in study.get_run("counterparts").config["runs"]
    # Planted differences are named: one pair is off, and its verdict is another.
    table = pairs.assign(cosine=pairs["cosine"].where(pairs.index != 5, 0.5))
    table.loc[3, "verdict"] = "other"
    table.to_parquet(first.folder / "tables" / "pairs.parquet")
    (row,) = study.repeat(first.id).table.to_dict("records")
    assert not row["agrees"]
    assert row["where"] == "verdict, row 3: 1 values differ"
    pairs.assign(cosine=table["cosine"]).to_parquet(first.folder / "tables" / "pairs.parquet")
    (row,) = study.repeat(first.id).table.to_dict("records")
    assert row["where"] == "cosine, row 5"


def test_what_was_read_and_is_no_more_is_named(examined) -> None:
    study, _, first = examined
    replica = first.record["inputs"]["beside"]["replica"]
    (study.folder / "runs" / replica / "config.json").unlink()
    assert replica in set(study.repair()["name"])
    with wb.open_study(study.folder) as later, pytest.raises(ConfigError, match=f"read the run {replica}, which is no more"):
        later.repeat(first.id)


def test_a_repetition_does_not_stand_for_an_examination_that_was_dropped(examined) -> None:
    study, run, first = examined
    study.repeat(first)
    (first.folder / "tables" / "evidence.parquet").write_bytes(b"damaged")
    assert first.id in set(study.repair()["name"])
    assert study.evidence().empty
    study.examine(run, families=FAMILIES, seed=4)
    assert set(study.evidence()["run"]) == {f"{first.id}-3"}
    assert study.verify().empty


def test_an_examination_of_an_older_version_says_what_it_does_not_know(examined) -> None:
    study, _, first = examined
    study.catalog.update_run(first.id, inputs={k: v for k, v in first.record["inputs"].items() if k != "beside"})
    with wb.open_study(study.folder) as later:
        done = later.repeat(first.id)
    assert done.agrees
    assert "did not keep which other runs" in done.remarks[0]


def test_the_command_says_the_reason(examined, capsys) -> None:
    study, run, first = examined
    run.concepts[0].rename("everything", "ada")
    with pytest.raises(SystemExit) as end:
        main(["--json", "run", str(study.folder), "--from", first.id])
    said = json.loads(capsys.readouterr().out)
    assert (end.value.code or 0) == 0
    assert said["agrees"]
    assert len(said["remarks"]) == 1


def test_what_fires_beside_is_looked_for_among_the_runs_that_were_there(examined) -> None:
    study, run, _ = examined
    acts = study.activation_set()

    def tried(**given) -> Trial:
        return Trial(study, run, acts, study.dataset_of(acts), TrialOptions(None, ["causes"], steer=2, max_rows=500), **given)

    first = tried()
    seen = [ids[0] for _, ids in first._watched("resid_post.0")]
    assert len(seen) == 1
    study.run("others_for_repeats", acts, **run.config)
    assert len(tried()._watched("resid_post.0")) == 2
    assert [ids[0] for _, ids in tried(beside=first.beside)._watched("resid_post.0")] == seen
