"""The plan counts what an examination tests, and promises neither too much nor too little."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import LeftOutError
from workbench.evidence.plan import cannot_be_found, plan, plan_sentences
from workbench.evidence.plan_causes import causes_sentences, plan_causes
from workbench.reports.parts import LeftOut
from workbench.testing.worlds import word_index, write_activations


@pytest.mark.parametrize("max_rows", [15_000, 300])
def test_documents_are_counted_as_the_examination_counts_them(planted, max_rows: int) -> None:
    study, acts, _, _ = planted()
    probes = study.run("linear_probe", acts, controls=False)
    table = plan(study, acts, (1,), max_rows).set_index("label")
    rows = study.examine(probes, families=("detects",), max_rows=max_rows)
    rows = rows[rows["metric"].eq("detects.auroc")].drop_duplicates("label").set_index("label")
    # Of left and right one is a label: the other has the same documents the other way round.
    assert set(table.index) == {"token:planted", "kind=right"} == set(rows.index)
    for label, planned in table.iterrows():
        assert planned["documents"] == rows.loc[label, "clusters"]
        assert min(planned["positive"], planned["negative"]) == rows.loc[label, "clusters_positive"]
        assert bool(planned["note"]) == np.isnan(rows.loc[label, "p"])


def test_spans_that_lie_in_every_document_can_be_found(planted) -> None:
    """All documents hold the label, and all hold positions without it: detection has a p value, and so says the plan."""
    study, _, _, _ = planted()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(80):
        # In different places: a score has to tell more than the place in a document.
        words = ["alpha", str(number), "beta", "end"]
        words.insert(int(rng.integers(5)), "omega")
        text = " ".join(words)
        start = text.index("omega")
        rows.append(
            {
                "text": text, "group": str(number), "split": ("train", "train", "validation", "test")[number % 4],
                "spans": [{"start": start, "end": start + 5, "label": "planted"}],
            }
        )  # fmt: skip
    dataset = wb.dataset_from_table(
        pd.DataFrame(rows), text="text", spans="spans", split="split", group="group", name="everywhere"
    )
    index = word_index(dataset.inputs())
    values = rng.normal(size=(len(index), 8)).astype(np.float32)
    values[index["token"].eq("omega"), 0] += 4
    study.use_dataset(dataset)
    acts = write_activations(study.folder / "activations", dataset, {"resid_post.0": values}, index)
    assert cannot_be_found(study, acts, 16_384) == ""
    found = study.examine(study.run("linear_probe", acts, controls=False), families=("detects",))
    tested = found[found["metric"].eq("detects.auroc")].iloc[0]
    assert tested["clusters_positive"] == 20
    assert tested["p_corrected"] < 0.05


def test_what_cannot_be_found_is_told_from_what_is_only_hard_to_find(planted) -> None:
    study, acts, _, _ = planted(examples=160)
    table = plan(study, acts, (20, 10**8))
    lines = " ".join(plan_sentences(table))
    assert "(the label in most documents)" in lines
    assert "takes each document for one row" in lines
    one = table[table["label"].eq("kind=right")]
    assert "(the label in most documents)" not in " ".join(plan_sentences(one))
    assert one["most_concepts"].iloc[0] == pytest.approx(10**9)
    few = one.assign(most_concepts=100, auroc=[0.8, np.nan])
    assert "For 1 label no corrected p value over 100,000,000 concepts could be below .05" in " ".join(plan_sentences(few))
    assert "could be below .05" not in " ".join(plan_sentences(one))


def test_a_study_without_its_activations_has_a_plan_by_the_labels_alone(planted, tmp_path) -> None:
    study, acts, dataset, _ = planted()
    study.keep_dataset(dataset)
    before = plan(study, acts, (20,))
    assert before["captured"].all()
    study.pack(tmp_path / "packed.zip")
    with wb.unpack(str(tmp_path / "packed.zip"), tmp_path / "again") as again:
        table = again.plan(concepts=(20,))
        # Every example was captured here, so that the counts are the same.
        columns = ["label", "documents", "positive", "negative", "auroc"]
        pd.testing.assert_frame_equal(
            table[columns].sort_values("label").reset_index(drop=True),
            before[columns].sort_values("label").reset_index(drop=True),
        )
        assert not table["captured"].any()
        assert "which examples were captured is not known" in " ".join(plan_sentences(table))
        assert plan_causes(again).empty
        left_out = LeftOut()
        assert left_out.unless_broken("the rows", again.activations()[0].require_rows, 1) == 1
        assert left_out == []
        assert left_out.missing[0][0] == "the rows"
        with pytest.raises(LeftOutError):
            again.activations()[0].require_rows()
        text = again.report(tmp_path / "report.html").read_text(encoding="utf-8")
        assert "Left out because it is broken" not in text
        assert "What the data can show" in text


@pytest.mark.parametrize(("spread", "ranked"), [(1.0, False), (30.0, True)])
def test_where_few_directions_hold_the_variance_the_plan_says_how_many_concepts_can_be_steered(
    planted, spread: float, ranked: bool
) -> None:
    study, acts, dataset, _ = planted(strength=0.0)
    values = np.random.default_rng(0).normal(size=(acts.n_rows, 24)).astype(np.float32)
    values[:, 0] *= spread
    study.use_dataset(dataset)
    acts = write_activations(study.folder / "activations", dataset, {"resid_post.1": values}, word_index(dataset.inputs()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = plan_causes(study, acts).set_index("metric")
    lines = " ".join(causes_sentences(table.reset_index()))
    readout = table.loc["causes.readout"]
    if ranked:
        assert readout["dimension"] < 9
        assert readout["least_p"] == pytest.approx(1 / 80)
        # The fifth concept would have a corrected p of 5/80, above .05.
        assert readout["most_tests"] == 4
        assert "than 4 for the readout" in lines
        assert "to be found over" not in lines
    else:
        assert np.isnan(readout["least_p"])
        assert "to be found over 20 tests" in lines
