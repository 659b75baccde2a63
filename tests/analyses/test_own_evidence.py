"""A method's own scores of its concepts: checked, recorded with the run, and shown wherever evidence is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import workbench as wb
from tests.analyses.returning import Returns
from tests.cli.test_commands import call
from workbench.analysis import Result, measured
from workbench.concepts import LinearConcepts
from workbench.statistics.rows import NoNull, Null, row

KEY = "returns.known"


def two_sets(evidence: list[dict[str, Any]]) -> Result:
    """Three concepts in two sets, so that the third has the place 2."""
    sets = [
        LinearConcepts("resid_post.0", torch.eye(24)[:2]),
        LinearConcepts("resid_post.0", torch.eye(24)[2:3], level="example"),
    ]
    return Result(sets, evidence=pd.DataFrame(evidence))


def honest() -> Result:
    first = row(KEY, 0.7, Null(0.1, 0.2, 0.01, "the test", 0.02), n=40, low=0.6, high=0.8, clusters=20, place=0, label="a")
    last = row(KEY, 3.0, NoNull("a count"), n=7, place=2, note="a note")

    def fails() -> list[dict[str, Any]]:
        raise wb.errors.DataError("too few rows")

    return two_sets([first, last, *measured([KEY], fails, place=1)])


def test_scores_enter_the_catalog_with_the_run_and_are_shown_with_their_title(planted, tmp_path: Path, capsys) -> None:
    study, acts, dataset, _ = planted()
    Returns.result = staticmethod(honest)
    run = study.run("returns", acts)
    found = study.evidence([KEY]).set_index("concept")
    assert sorted(found.index) == [f"{run.id}.{n}" for n in range(3)]
    first = found.loc[f"{run.id}.0"]
    assert (first["value"], first["low"], first["null"], first["p_corrected"], first["n"]) == (0.7, 0.6, 0.1, 0.02, 40)
    assert (first["run"], first["dataset"], first["label"]) == (run.id, dataset.name, "a")
    assert (found.loc[f"{run.id}.1", "status"], found.loc[f"{run.id}.1", "error"]) == ("failed", "too few rows")
    assert study.concept(f"{run.id}.2").evidence()["note"].tolist() == ["a note"]
    assert study.verify().empty
    assert f"{run.id}.0" in study.concepts(run=run.id).sort(KEY).ids
    again = study.repeat(run)
    assert again.agrees
    assert len(study.evidence([KEY])) == 6
    report = study.report(tmp_path / "r.html", concepts=[f"{run.id}.0"]).read_text()
    assert '<td title="A number.">known</td>' in report
    code, out, _ = call(capsys, "--json", "concept", str(study.folder), f"{run.id}.0")
    assert code == 0
    assert '"title": "known"' in out


def test_scores_that_the_catalog_lost_are_entered_again(planted) -> None:
    study, acts, _, _ = planted()
    Returns.result = staticmethod(honest)
    run = study.run("returns", acts)
    before = study.evidence([KEY]).drop(columns="id")
    with closing(sqlite3.connect(study.folder / "catalog.db")) as catalog:
        catalog.execute("delete from evidence")
        catalog.commit()
    assert study.verify()["problem"].tolist() == ["The catalog lacks 3 rows of its evidence."]
    assert study.repair()["mended"].all()
    pd.testing.assert_frame_equal(study.evidence([KEY]).drop(columns="id"), before)
    assert study.get_run(run.id).tables["evidence"]["concept"].tolist() == before["concept"].tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"place": 3}, "of other concepts than the 3 that it returned"),
        ({"place": -1}, "of other concepts than the 3"),
        ({"place": 0.5}, "of other concepts than the 3"),
        ({"place": "first"}, "of other concepts than the 3"),
        ({"metric": "returns.other"}, "its evidence 'returns.other' are not among the metrics that it declares"),
        ({"metric": "detects.auroc"}, "its evidence 'detects.auroc' is called as the trial's own is"),
        ({"value": float("inf")}, "the column 'value' of its evidence holds what is no finite number"),
        ({"p": 2.0}, "the column 'p' of its evidence holds what is no probability"),
        ({"low": 2.0, "high": 1.0}, "an interval of its evidence ends below"),
        ({"weight": 2.0}, "its evidence has a column 'weight'"),
        ({"note": {"a": 1}}, "What returns returned as evidence cannot be read: the column 'note' holds dict"),
    ],
)
def test_scores_that_cannot_be_recorded_are_refused(planted, change: dict[str, Any], said: str) -> None:
    study, acts, _, _ = planted()
    Returns.result = staticmethod(lambda: two_sets([{"place": 0, "metric": KEY, "value": 1.0} | change]))
    with pytest.raises(wb.errors.ConfigError, match=said.replace("(", r"\(")):
        study.run("returns", acts)
    assert study.evidence().empty
    assert study.verify()["state"].ne("broken").all()


def test_two_scores_of_one_thing_are_refused(planted) -> None:
    study, acts, _, _ = planted()
    Returns.result = staticmethod(lambda: two_sets([{"place": 0, "metric": KEY, "value": 1.0}] * 2))
    with pytest.raises(wb.errors.ConfigError, match="two rows of evidence of one concept"):
        study.run("returns", acts)
