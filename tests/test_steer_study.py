"""The bundled study of Scribe: what it says of concepts that steer and of those that do not, measured again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.evidence.steered import CHANCE, STEERS, UNCORRECTED
from workbench.evidence.steered_inputs import passages_from
from workbench.evidence.steering import read_passages, steer_passages
from workbench.statistics.directions import isotropic_directions

pytestmark = pytest.mark.slow
TIMES, COST = 4, 0.10
"""Against the stricter of two nulls, uniform directions and ones that vary as the activations do."""
TIMES_UNIFORM = 5
"""Against uniform directions alone, 200 others than those of the trial."""


@pytest.fixture(scope="module")
def study(bundled_steer: Path):
    with wb.open_study(bundled_steer, create=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(study) -> pd.DataFrame:
    return study.steered()


def clear(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["times_null"].ge(TIMES) & table["cost_high"].lt(COST) & table["verdict"].isin([STEERS, UNCORRECTED])]


def failing(table: pd.DataFrame) -> pd.DataFrame:
    """Those that detect a label well on held-out text, beyond its null, and do not steer."""
    found = table[table["detects"].ge(0.8) & ~table["verdict"].isin([STEERS, UNCORRECTED])]
    return found.sort_values("detects", ascending=False)


def test_three_concepts_move_their_own_tokens_and_one_that_looks_as_good_does_not(table) -> None:
    columns = ["name", "dose", "odds", "null_high", "times_null", "cost", "cost_high", "detects", "verdict"]
    print(pd.concat([clear(table), failing(table)])[columns].to_string())
    assert len(clear(table)) >= 3
    assert len(failing(table)) >= 1


def test_every_concept_that_was_steered_is_listed_with_a_verdict_that_its_numbers_bear_out(study, table) -> None:
    steered = study.evidence(["causes.tokens"])
    assert set(table["concept"]) == set(steered["concept"])
    for row in table.to_dict("records"):
        nearest = row["odds_low"] if row["odds"] > 0 else -row["odds_high"]
        if row["verdict"] == STEERS:
            assert nearest > row["null_high"]
            assert row["p_corrected"] <= 0.05
        elif row["verdict"] == UNCORRECTED:
            assert nearest > row["null_high"]
            assert np.isnan(row["p_corrected"])
        elif row["verdict"] == CHANCE:
            assert nearest <= row["null_high"] or row["p_corrected"] > 0.05
        else:
            assert row["reason"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_effects_are_measured_again_as_they_are_recorded(study, table, place: int) -> None:
    row = clear(table).iloc[place]
    concept = study.concept(row["concept"])
    dataset = study.datasets()[0]
    run = next(study.get_run(i) for i in study.evidence(["causes.tokens"]).query("concept == @concept.id")["run"])
    # The texts are every third of those of the trial: the longer ones of its sample of the test split.
    assert run.record["inputs"]["dataset_hash"] == dataset.hash
    test_rows = np.flatnonzero(dataset.table["split"].eq("test"))
    texts = passages_from(dataset.inputs(test_rows.tolist()), 1)[::3]
    passages = read_passages(study.model, texts)
    own = [torch.tensor(concept.tokens()["id"].to_numpy(np.int64))]
    directions = torch.cat([concept.direction[None], isotropic_directions(200, len(concept.direction), 1)])
    site = study.model.site(concept.site)
    reading = steer_passages(study.model, site, directions, [1.0], row["push"], passages, own)
    effect = reading.odds[:, 0, :, 0].mean(-1)
    null = np.quantile(np.abs(effect[1:]), 0.95)
    print(f"again, with other texts and other random directions: {effect[0]:.2f} nats, null to {null:.2f}")
    assert effect[0] >= TIMES_UNIFORM * 0.8 * null
    assert reading.loss[0, 0].mean() / passages.loss.mean() < COST
    # Other texts and other directions than the recorded ones, so within its interval and a little more.
    assert abs(effect[0] - row["odds"]) < 4 * (row["odds_high"] - row["odds_low"])


def test_the_report_shows_both_with_their_curves(study, table, tmp_path: Path) -> None:
    text = study.report(tmp_path / "steer.html").read_text()
    section = text[text.index('id="steering"') : text.index('id="cards"')]
    for concept in [*clear(table)["concept"].head(3), failing(table)["concept"].iloc[0]]:
        card = section[section.rindex(f'<span class="soft">{concept}</span>') :].split('<div class="card">')[0]
        assert card.count("plotly-graph-div") == 2
    assert len(re.findall("mark class=.fire", section)) > 4
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//", outside)


def test_it_stays_small_and_opens_without_a_model(study, table) -> None:
    from workbench.datasets.paths import data_dir

    assert (data_dir() / "studies" / "steer.zip").stat().st_size < 10 * 2**20
    assert study.activation_set().left_out
    assert len(study.concepts(method="SAE")) == 4096
    assert {"SAE", "probe", "CAV"} <= {c.method for c in study.concepts()}
