"""Causes of concepts of a study, end to end, on a small causal model: what is kept of units, doses, controls and p values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.large_vocabulary import save_large_vocabulary
from workbench.evidence.steered import DEVIATION, MEAN_NORM
from workbench.models import load_model
from workbench.recipes import Recipe


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Probes of a causal model of random weights whose last token tells the label, examined as causes."""
    folder = tmp_path_factory.mktemp("cause-trial")
    model = load_model(str(save_large_vocabulary(folder / "model", size=512, width=32)), check=False)
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, part)) for part in rng.integers(97, 122, (240, 9))]
    kinds = ["low" if text[-1] < "m" else "high" for text in texts]
    table = pd.DataFrame({"text": texts, "kind": kinds})
    dataset = wb.dataset_from_table(table, text="text", labels=["kind"], name="letters")
    with wb.open_study(folder / "study") as opened:
        acts = opened.capture(model, dataset, sites=["resid_post.0"])
        run = opened.run("concept_activation", acts.at("resid_post.0"), estimator="mean_difference")
        opened.examine(run, families=("causes",), steer=2)
        yield opened


def test_evidence_of_causes_has_both_p_values_documents_and_the_unit_in_the_catalog(study):
    rows = study.evidence()
    rows = rows[rows["metric"].str.startswith("causes.")]
    assert {"causes.readout", "causes.output", "causes.sensitivity"} <= set(rows.loc[rows["status"].eq("ok"), "metric"])
    assert "causes.dose" not in set(rows["metric"])
    tested = rows[rows["status"].eq("ok") & rows["metric"].isin(["causes.readout", "causes.output", "causes.sensitivity"])]
    assert (tested["p_corrected"] >= tested["p"]).all()
    assert tested["family"].ne("").all()
    assert (tested["clusters"] > 1).all()
    doses = study.doses("resid_post.0")
    assert doses.measure == "loss"
    assert doses.unit == pytest.approx(study.dose_unit("resid_post.0"))
    # The mean of the massive coordinates is no part of the unit.
    assert doses.unit < study.typical_norm("resid_post.0")


def test_the_recommended_push_is_a_norm_and_doses_of_earlier_evidence_keep_their_meaning(study):
    from workbench.store import tables

    concept = study.concept(study.evidence(["causes.output"])["concept"].iloc[0])
    known = {"concept": concept.id, "label": "", "status": "ok", "n": 16, "dataset": "letters", "run": concept.run_id}
    study.catalog.insert(tables.evidence, [known | {"metric": "causes.dose", "value": 0.5, "at": tables.now()}])
    study.catalog.insert(tables.evidence, [known | {"metric": "causes.tokens", "value": 1.0, "at": tables.now()}])
    norm = study.typical_norm(concept.site)
    assert concept.recommended_push == pytest.approx(0.5 * norm)
    assert concept.recommended_dose * concept.dose_unit == pytest.approx(0.5 * norm)
    row = study.steered().set_index("concept").loc[concept.id]
    assert (row["dose"], row["unit"]) == (0.5, MEAN_NORM)
    assert row["push"] == pytest.approx(0.5 * norm)
    study.catalog.insert(tables.evidence, [known | {"metric": "causes.push", "value": 3.0, "at": tables.now()}])
    assert concept.recommended_push == 3.0
    assert study.steered().set_index("concept").loc[concept.id, "unit"] == DEVIATION


def test_a_recipe_of_before_adds_the_same_vector(study):
    concept = study.concept(study.evidence(["causes.output"])["concept"].iloc[0])
    recipe = Recipe.parse(f'{{"steps": [{{"concept": "{concept.id}", "amount": 2.5}}], "prompt": "a", "format": 1}}')
    edit = next(iter(recipe.edits(study)))
    rows = concept.direction.new_zeros(1, 3, len(concept.direction))
    added = edit(rows)[0, 1]
    assert float(added.norm()) == pytest.approx(2.5)
