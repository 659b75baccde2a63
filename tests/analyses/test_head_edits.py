"""Edits of heads: runs of their own, whose metrics are what the edit does where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from tests.analyses.returning import Returns
from tests.cli.test_commands import call
from workbench.analysis import Result
from workbench.concepts import LinearConcepts, LinearHead
from workbench.testing.worlds import planted_table, word_index, write_activations


def with_head(planted: Any, **facts: Any) -> tuple[Any, Any]:
    """A head of a study whose class is told by a planted direction, and that reads one which says nothing of it as well."""
    study, acts, _, directions = planted(strength=8.0)
    both = torch.tensor(np.stack([directions[1], directions[0]]))
    # left where the planted direction is strong; the other concept, which is noise for the class, counts far more.
    head = LinearHead(
        ["left", "right"], torch.tensor([[1.0, 30.0], [0, 0]]), torch.tensor([-4.0, 0]), **({"label": "kind"} | facts)
    )
    Returns.result = staticmethod(lambda: Result([LinearConcepts("resid_post.0", both)], heads={"kind": head}))
    return study, study.run("returns", acts)


def test_a_shortcut_is_removed_and_the_accuracy_rises_by_what_it_cost(planted) -> None:
    study, run = with_head(planted)
    edited = study.edit_head(run, "kind", {"left": {1: 0.0}})
    metrics = edited.metrics.set_index(["metric", "label"])
    before, after = (metrics.loc[("head.accuracy", when)] for when in ("before", "after"))
    assert before["value"] < 0.8
    assert after["value"] == 1.0
    assert before["low"] < before["value"] < before["high"]
    change = edited.metrics.set_index("metric").loc["head.change"]
    assert change["value"] == pytest.approx(after["value"] - before["value"])
    assert change["low"] > 0
    changed = edited.tables["changed"]
    assert len(changed) == round(edited.metrics.set_index("metric").loc["head.changed", "value"] * before["n"])
    # Masking says the same, and both are runs made from the first.
    masked = study.edit_head(run, "kind", mask=[f"{run.id}.1"])
    assert masked.id != edited.id
    assert torch.equal(masked.heads["kind"].weights, edited.heads["kind"].weights)
    assert study.edit_head(run, "kind", {"left": {"1": 0}}).id == edited.id
    log = study.log().set_index("id")
    assert log.loc[edited.id, "parents"] == [run.id]
    assert study.verify().empty
    assert study.repeat(edited).agrees
    assert run.heads["kind"].weights[0, 1] == 30
    with pytest.raises(wb.errors.StudyError, match="made from"):
        study.delete(run.id)


@pytest.mark.parametrize(
    ("weights", "mask", "said"),
    [
        ({"up": {0: 0.0}}, (), "There is no output of the head called 'up'"),
        ({"left": {7: 0.0}}, (), "There is no concept of the head called '7'"),
        ({"left": {"a.b": 0.0}}, (), "There is no concept of the head called 'a.b'"),
        ({}, ("returns-00000000.1",), "There is no concept of the head called 'returns-00000000.1'"),
        ({"left": {0: float("nan")}}, (), "a finite number, not nan"),
        ({}, (9,), "There is no concept of the head called '9'"),
        ({}, (), "Nothing of the head is changed"),
    ],
)
def test_an_edit_of_what_is_not_there_is_refused_and_leaves_no_run(planted, weights: Any, mask: Any, said: str) -> None:
    study, run = with_head(planted)
    with pytest.raises(wb.errors.WorkbenchError, match=said):
        study.edit_head(run, "kind", weights, mask)
    with pytest.raises(wb.errors.UnknownNameError, match="There is no head called 'sort'"):
        study.edit_head(run, "sort", {"left": {0: 1.0}})
    assert len(study.runs(status=None)) == 1


def test_what_cannot_be_measured_of_an_edit_is_a_failed_row_with_the_reason(planted) -> None:
    study, run = with_head(planted, label="")
    edited = study.edit_head(run, "kind", {"left": {1: 0.0}})
    assert edited.metrics["status"].tolist() == ["failed", "failed", "ok"]
    assert "predicts no column of the data" in edited.remarks[0]


@pytest.mark.parametrize("pool", ["mean", "max", "none"])
def test_a_head_reads_rows_or_examples_as_it_says(planted, pool: str) -> None:
    study, run = with_head(planted, pool=pool)
    metrics = study.edit_head(run, "kind", {"left": {1: 0.0}}).metrics.set_index(["metric", "label"])
    examples = int(study.dataset_of(study.activation_set()).table["split"].eq("test").sum())
    assert (metrics.loc[("head.accuracy", "after"), "n"] == examples) == (pool != "none")
    assert metrics.loc[("head.accuracy", "after"), "clusters"] == examples
    assert metrics.loc[("head.accuracy", "after"), "value"] > metrics.loc[("head.accuracy", "before"), "value"]


def test_an_edit_in_a_packed_study_is_kept_and_says_that_its_effect_is_not_known(planted, tmp_path: Path) -> None:
    study, run = with_head(planted)
    with wb.unpack(study.pack(tmp_path / "packed.zip"), tmp_path / "unpacked") as packed:
        edited = packed.edit_head(run.id, "kind", {"left": {1: 0.0}})
        assert edited.metrics["status"].tolist() == ["failed"]
        assert "Accuracy could not be measured" in edited.remarks[0]
        assert edited.heads["kind"].weights[0, 1] == 0
        assert packed.verify()["state"].ne("broken").all()


def test_a_quantity_that_is_a_direction_is_predicted_whole_with_the_right_weight(tmp_path: Path) -> None:
    table = planted_table(120, 0)
    table["amount"] = np.random.default_rng(0).normal(size=len(table))
    data = wb.dataset_from_table(table, text="text", labels=["amount"], split="split", group="group", name="amounts")
    index, direction = word_index(data.inputs()), np.eye(6, dtype=np.float32)[:1]
    rows = (table["amount"].to_numpy()[index["example"], None] * direction).astype(np.float32)
    head = LinearHead(["amount"], torch.tensor([[-1.0]]), label="amount", task="quantities")
    concepts = LinearConcepts("resid_post.0", torch.from_numpy(direction))
    Returns.result = staticmethod(lambda: Result([concepts], heads={"amount": head}))
    with wb.open_study(tmp_path / "study") as study:
        study.catalog.set_info("model", json.dumps({"name": "p", "kind": "module", "weights_hash": "0" * 64, "source": {}}))
        study.use_dataset(data)
        run = study.run("returns", write_activations(study.folder / "activations", data, {"resid_post.0": rows}, index))
        metrics = study.edit_head(run, "amount", {"amount": {0: 1.0}}).metrics.set_index(["metric", "label"])["value"]
        assert metrics["head.r2", "before"] < -1
        assert metrics["head.r2", "after"] == pytest.approx(1.0)
        test = table["split"].eq("test")
        assert metrics.xs("head.moved").iloc[0] == pytest.approx(2 * table.loc[test, "amount"].abs().mean(), rel=1e-5)


@pytest.mark.parametrize("weight", ["left", "left:0", "left=1", ":0=1", "left:0=heavy"])
def test_a_weight_of_the_command_line_that_is_none_is_said_to_be_none(capsys, weight: str) -> None:
    code, out, err = call(capsys, "edit-head", "study", "run", "head", "--weight", weight)
    assert code == 2
    assert f"'{weight}' is no weight; write --weight OUTPUT:CONCEPT=NUMBER" in " ".join((out + err).split())
