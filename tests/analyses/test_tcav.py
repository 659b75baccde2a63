"""TCAV where the truth is known: sign counts as Captum's, a test that does not saturate, and what it cannot find."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.directions._shared.classes import foresee
from analyses.directions._shared.tables import corrected, metric_rows, scores_table
from analyses.directions._shared.tcav import findable, out_of_reach, score
from analyses.directions._shared.vectors import Vectors, fit_sets
from workbench.statistics.clusters import Counts


def made(weights: np.ndarray, random: np.ndarray, clusters: int = 100, ways: float = np.inf) -> Vectors:
    count = len(weights)
    many = np.full(count, clusters)
    names = [f"c{i}" for i in range(count)]
    return Vectors(names, weights, np.zeros(count), random, Counts(many, many, 2 * many, many), many, np.full(count, ways))


def test_sign_counts_and_magnitudes_are_those_of_captum() -> None:
    rng = np.random.default_rng(0)
    attributions, cavs = torch.from_numpy(rng.normal(size=(40, 30))), rng.normal(size=(6, 30))
    attributions[:8] = 0
    # captum.concept.TCAV: `torch.mean((tcav_score > 0.0).float(), dim=1)` and `torch.mean(tcav_score, dim=1)`.
    products = attributions @ torch.from_numpy(cavs).T
    sign_count, magnitude = (products > 0.0).double().mean(0), products.mean(0)
    found = score(made(cavs, rng.normal(size=(6, 29, 30))), {"class": attributions})
    np.testing.assert_allclose(found.share[:, 0], sign_count.numpy())
    np.testing.assert_allclose(found.magnitude[:, 0] * np.linalg.norm(cavs, axis=1), magnitude.numpy())


def test_a_vector_along_the_gradient_has_the_whole_class_behind_it() -> None:
    rng = np.random.default_rng(0)
    pull = rng.normal(size=30)
    grads = {"class": torch.from_numpy(pull + 0.1 * rng.normal(size=(40, 30)))}
    found = score(made(np.stack([pull, -pull]), rng.normal(size=(2, 29, 30))), grads)
    assert found.share[:, 0].tolist() == [1.0, 0.0]
    assert found.share_range.high[0, 0] == pytest.approx(1.0)
    assert found.share_range.low[0, 0] > 0.9
    assert found.effect[0, 0] > 4 > -4 > found.effect[1, 0]
    assert (found.p < 1e-3).all()


def test_where_all_gradients_are_alike_the_score_saturates_and_the_effect_does_not() -> None:
    """As in a last layer: every vector has a score of 0 or 1, which says nothing; the size of the derivative still does."""
    rng = np.random.default_rng(1)
    pull = rng.normal(size=64)
    grads = {"class": torch.from_numpy(np.tile(pull, (30, 1)))}
    weak, strong = rng.normal(size=64), pull + 0.5 * rng.normal(size=64)
    weak -= (weak @ pull - 1.0) * pull / (pull @ pull)
    found = score(made(np.stack([weak, strong]), rng.normal(size=(2, 59, 64))), grads)
    assert found.share[:, 0].tolist() == [1.0, 1.0]
    assert found.p[0, 0] > 0.2 > 1e-6 > found.p[1, 0]
    assert found.magnitude[0, 0] < found.magnitude_high[0, 0] < found.magnitude[1, 0]
    assert 0.2 < found.share_null[0, 0] < 0.8


def test_what_all_random_sets_share_is_taken_out_of_them_and_of_the_concept() -> None:
    rng = np.random.default_rng(2)
    common, pull = 3 * rng.normal(size=40), rng.normal(size=40)
    grads = {"class": torch.from_numpy(pull + common + 0.3 * rng.normal(size=(30, 40)))}
    random = common + rng.normal(size=(1, 59, 40))
    found = score(made(common[None] + rng.normal(size=(1, 40)), random), grads)
    assert found.share[0, 0] == found.share_null[0, 0] == 1.0
    assert found.magnitude_null[0, 0] > 1
    assert abs(found.effect[0, 0]) < 3
    assert found.p[0, 0] > 0.01


def test_random_sets_have_the_rows_counts_and_documents_of_their_concept() -> None:
    rng = np.random.default_rng(3)
    document = np.repeat(np.arange(30), 12)
    y = np.isin(document, rng.permutation(30)[:10]).astype(float)[:, None]
    x = rng.normal(size=(360, 8)) + 2 * rng.normal(size=(30, 8))[document]
    found = fit_sets(x, y, document, "mean_difference", per_side=80, sets=200, seed=0)
    assert found.random.shape == (1, 200, 8)
    assert found.rows.tolist() == [160]
    assert (found.counts.positive[0], found.counts.negative[0]) == (10, 20)
    assert found.arrangements[0] == 30045015
    # The concept is one of its random sets: its length is an ordinary one among theirs.
    assert 0.005 < (np.linalg.norm(found.random[0], axis=1) < np.linalg.norm(found.weights[0])).mean() < 0.995
    # Rows dealt out one by one would vary far less than documents do.
    singly = fit_sets(x, y, None, "mean_difference", per_side=80, sets=200, seed=0)
    assert found.random.std() > 1.5 * singly.random.std()


def test_too_few_documents_have_an_effect_and_no_p_and_no_p_is_below_the_arrangements() -> None:
    rng = np.random.default_rng(4)
    pull = rng.normal(size=30)
    grads = {"a": torch.from_numpy(np.tile(pull, (20, 1)))}
    random = rng.normal(size=(1, 59, 30))
    few = made(pull[None], random, clusters=7)
    rows = metric_rows(corrected(scores_table(few, score(few, grads), "resid_post.0")))
    effect = rows[0]
    assert effect["metric"] == "tcav.effect"
    assert effect["value"] > 4
    assert np.isnan(effect["p"])
    assert effect["note"] == "'c0' has no interval and no p value: 7 positive clusters, fewer than 8"
    limited = made(pull[None], random, ways=6435)
    assert score(limited, grads).p[0, 0] == 1 / 6435


def test_raw_and_corrected_p_stand_beside_each_other_with_their_family() -> None:
    rng = np.random.default_rng(5)
    pull = rng.normal(size=64)
    grads = {c: torch.from_numpy(pull * sign + 0.2 * rng.normal(size=(20, 64))) for c, sign in (("a", 1), ("b", 0))}
    vectors = made(np.stack([pull, rng.normal(size=64)]), rng.normal(size=(2, 59, 64)))
    tables = [scores_table(vectors, score(vectors, grads), site) for site in ("resid_post.0", "resid_post.1")]
    table = corrected(pd.concat(tables, ignore_index=True))
    assert set(table["family"]) == {"TCAV: 8 tests of the run, 2 concepts by 2 classes at 2 sites"}
    order = table["p"].sort_values()
    np.testing.assert_allclose(table.loc[order.index[0], "p_corrected"], order.iloc[0] * 8)
    assert (table["p_corrected"] >= table["p"]).all()
    effects = [r for r in metric_rows(table) if r["metric"] == "tcav.effect"]
    assert {r["n"] for r in effects} == {100}
    assert max(r["null_high"] for r in effects) == pytest.approx(2.0, abs=0.01)


def test_more_sets_and_fewer_tests_find_smaller_effects() -> None:
    assert findable(20, 30) < 4.5
    assert findable(3360, 19) > findable(3360, 59) > findable(20, 59) > findable(1, 59) > 2.8
    # 59 sets of noncentral t, by simulation.
    rng = np.random.default_rng(0)
    null = rng.normal(size=(59, 20_000))
    effect = findable(20, 59)
    t = (rng.normal(size=20_000) + effect - null.mean(0)) / (null.std(0, ddof=1) * np.sqrt(1 + 1 / 59))
    from scipy.stats import t as student

    assert (2 * student.sf(t, 58) <= 0.05 / 20).mean() == pytest.approx(0.8, abs=0.02)


def test_a_run_that_cannot_find_anything_says_so_before() -> None:
    assert out_of_reach(3360, 19, 24)
    assert not out_of_reach(3360, 59, 384)
    with pytest.warns(UserWarning, match="no corrected p value can reach .05. Name fewer labels"):
        foresee(3360, 19, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        foresee(20, 59, 24)


def test_a_class_is_moved_by_its_own_planted_direction_and_by_no_other(planted) -> None:
    from analyses.directions import ConceptActivation
    from workbench.analysis import Context
    from workbench.readout import examples_with

    _, acts, dataset, directions = planted()
    rng = np.random.default_rng(0)

    def gradients(sites, classes, per_class):
        # The readout of 'kind' reads the direction of kind=left: upwards for left, downwards for right.
        rows = {c: len(e) for c, e in examples_with(dataset, classes, per_class).items()}
        sign = {c: 1 if c == "kind=left" else -1 for c in classes}
        made = {c: torch.from_numpy(sign[c] * directions[1] + 0.02 * rng.normal(size=(n, 24))) for c, n in rows.items()}
        return dict.fromkeys(sites, made)

    readout = type("Readout", (), {"labels": ["kind=left", "kind=right"]})()
    context = Context(acts, dataset, 0, lambda *_: None, lambda: None, lambda: readout, gradients)
    result = ConceptActivation(labels=("kind", "planted")).run(context)
    effects = result.metrics.query("metric == 'tcav.effect'").set_index("label")
    own, other = effects.loc["kind=right"], effects.loc["token:planted"]
    assert abs(own["value"]) > 4
    assert own["p_corrected"] < 0.01 < 0.05 < other["p_corrected"]
    assert own["p_corrected"] == pytest.approx(2 * own["p"])
    assert own["family"] == other["family"] == "TCAV: 2 tests of the run, 2 concepts by 1 class at 1 site"
    scores = result.metrics.query("metric == 'tcav.score'").set_index("label")
    assert scores["null_high"].isna().all() if "null_high" in scores else True
    assert scores.loc["kind=right", "value"] == (1.0 if own["value"] > 0 else 0.0)
    areas = result.metrics.query("metric == 'cav.auroc'")
    assert areas["null"].eq(0.5).all()
    assert areas["clusters"].gt(50).all()
    assert set(result.tables["tcav"].columns) >= {"effect", "p", "p_corrected", "family", "score", "low", "high", "magnitude"}
