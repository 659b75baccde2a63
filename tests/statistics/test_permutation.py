"""p values of labels dealt out among clusters agree with brute force, hold where there is nothing, and see what is there."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu

from workbench.errors import DataError
from workbench.statistics.auroc import auroc_matrix
from workbench.statistics.correction import holm
from workbench.statistics.permutation import counted_tail, permuted_by_cluster


def brute_force(score: np.ndarray, label: np.ndarray, clusters: np.ndarray, draws: int, seed: int) -> float:
    """The p value by drawing whole permutations of clusters of one size."""
    rng = np.random.default_rng(seed)
    blocks = label.reshape(len(np.unique(clusters)), -1)
    dealt = np.stack([blocks[rng.permutation(len(blocks))].ravel() for _ in range(draws)], axis=1)
    null = auroc_matrix(score[:, None], dealt)[0]
    return float((1 + (null >= auroc_matrix(score[:, None], label[:, None])[0, 0] - 1e-9).sum()) / (1 + draws))


@pytest.mark.parametrize("kind", ["constant", "runs", "scattered", "leaning"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_tail_is_that_of_brute_force(kind: str, sparse: bool) -> None:
    rng = np.random.default_rng(3)
    documents, rows = 30, 40
    clusters = np.repeat(np.arange(documents), rows)
    label = np.zeros(len(clusters))
    if kind == "constant":
        label = np.isin(clusters, np.arange(10)).astype(float)
    elif kind == "runs":
        for start in rng.integers(0, len(label) - 8, 25):
            label[start : start + 8] = 1
    elif kind == "scattered":
        label = (rng.random(len(label)) < 0.1).astype(float)
    else:
        label = (rng.random(len(label)) < rng.beta(0.3, 1.2, documents)[clusters]).astype(float)
    noise = rng.normal(size=(documents, 40))[clusters] + rng.normal(size=(len(label), 40))
    score = noise + 0.5 * label[:, None]
    if sparse:
        score = np.maximum(score - 2, 0)
    found = permuted_by_cluster(score, np.repeat(label[:, None], 40, axis=1), clusters).p
    # Those near .02 and below can be told from each other by 4,000 draws.
    for column in np.argsort(np.abs(np.log(found / 0.02)))[:3]:
        drawn = brute_force(score[:, column], label, clusters, 4000, 5)
        assert found[column] == pytest.approx(drawn, rel=0.25, abs=0.004), (kind, column)


def test_one_row_a_cluster_is_the_exact_rank_test() -> None:
    rng = np.random.default_rng(0)
    for positives, n, shift in ((8, 18, 1.5), (12, 40, 1.2), (60, 200, 0.7)):
        label = (np.arange(n) < positives).astype(float)
        score = rng.normal(size=n) + shift * label
        truth = mannwhitneyu(score[label == 1], score[label == 0], alternative="greater", method="exact").pvalue
        found = permuted_by_cluster(score[:, None], label[:, None]).p[0]
        assert found == pytest.approx(truth, rel=0.05), (positives, n)


def test_counting_is_exact() -> None:
    rng = np.random.default_rng(1)
    score = np.where(np.arange(14) < 6, rng.integers(1, 5, 14), 0).astype(float)
    positive = np.isin(np.arange(14), [0, 1, 2, 9])
    sums = [score[list(chosen)].sum() for chosen in combinations(range(14), 4)]
    assert counted_tail(score, positive) == pytest.approx(np.mean(np.array(sums) >= score[positive].sum()))
    assert counted_tail(rng.normal(size=200), np.arange(200) < 20) is None


@pytest.mark.parametrize("unequal", [False, True])
def test_labels_without_a_connection_are_called_at_the_nominal_rate(unequal: bool) -> None:
    rng = np.random.default_rng(7)
    tried: list[float] = []
    for _ in range(25):
        lengths = rng.lognormal(3, 0.8, 36).astype(int) + 2 if unequal else np.full(36, 20)
        clusters = np.repeat(np.arange(36), lengths)
        documents = (rng.random((36, 40)) < 0.3)[clusters]
        scattered = rng.random((len(clusters), 40)) < 0.1
        label = np.where(np.arange(40) < 20, documents, scattered).astype(float)
        score = rng.normal(size=(36, 40))[clusters] + rng.normal(size=label.shape)
        found = permuted_by_cluster(score, label, clusters).p
        tried += found[np.isfinite(found)].tolist()
    # Labels that are dealt out row by row would reject a third of those that follow documents.
    assert binom.sf((np.array(tried) <= 0.05).sum() - 1, len(tried), 0.05) > 0.001
    assert (np.array(tried) <= 0.05).mean() > 0.03


def test_no_p_is_below_one_over_the_arrangements_and_few_clusters_have_none() -> None:
    label = np.repeat(np.arange(16) < 8, 5).astype(float)[:, None]
    clusters = np.repeat(np.arange(16), 5)
    assert permuted_by_cluster(label + 0.0, label, clusters).p[0] >= 1 / comb(16, 8)
    few = np.repeat(np.arange(15) < 7, 5).astype(float)[:, None]
    found = permuted_by_cluster(few + 0.0, few, np.repeat(np.arange(15), 5))
    assert np.isnan(found.p[0])
    assert "7 positive clusters" in found.counts.reason(0)


@pytest.mark.parametrize("long", [1, 2, 3, 4, 6])
def test_a_few_long_documents_that_hold_a_label_have_no_p_or_one_that_holds(long: int) -> None:
    rng, found = np.random.default_rng(4), []
    clusters = np.repeat(np.arange(30), [200] * long + [20] * (30 - long))
    for _ in range(40):
        label = ((clusters < long) & (rng.random(len(clusters)) < 0.5)).astype(float)
        label[np.searchsorted(clusters, np.arange(long, long + 10))] = 1
        scores = rng.normal(size=(30, 10))[clusters] + rng.normal(size=(len(clusters), 10))
        found.append(permuted_by_cluster(scores, np.tile(label[:, None], (1, 10)), clusters))
    p = np.concatenate([one.p for one in found])
    assert np.isnan(p).all() == (long < 4)
    if long < 4:
        assert "a few clusters hold most rows of a class" in found[0].counts.reason(0)
    else:
        assert (p <= 0.05).mean() < 0.08


@pytest.mark.parametrize(("area", "positives", "n"), [(0.80, 30, 200), (0.65, 150, 1000)])
def test_a_planted_area_is_found_among_a_thousand_concepts(area: float, positives: int, n: int) -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(2)
    label = (np.arange(n) < positives).astype(float)
    planted = rng.normal(size=(n, 100)) + np.sqrt(2) * norm.ppf(area) * label[:, None]
    p = permuted_by_cluster(planted, np.repeat(label[:, None], 100, axis=1)).p
    assert np.mean([holm(np.array([one]), 1000)[0] <= 0.05 for one in p]) >= 0.8


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        permuted_by_cluster(np.zeros((4, 2)), np.zeros((4, 3)))


def test_a_score_that_knows_only_the_place_in_a_document_is_not_significant() -> None:
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(40), 20)
    place = np.tile(np.arange(20), 40)
    label = ((place < 3) & (rng.random(40) < 0.5)[clusters]).astype(float)[:, None]
    score = -place[:, None] + rng.normal(size=(800, 1))
    found = permuted_by_cluster(score, label, clusters)
    area = auroc_matrix(score, label)[0, 0]
    assert area > 0.9
    assert found.mean[0] == pytest.approx(area, abs=0.03)
    assert found.p[0] > 0.05
    knows = score + 3 * label
    assert permuted_by_cluster(knows, label, clusters).p[0] < 0.001


@pytest.mark.parametrize("shares", ["equal", "leaning", "far apart"])
def test_the_spread_is_that_of_whole_permutations_where_documents_are_few(shares: str) -> None:
    """Nine documents of one length. Were their shares of positives drawn with replacement, it would be 6% too small."""
    rng = np.random.default_rng(4)
    documents, length = 9, 24
    ids = np.repeat(np.arange(documents), length)
    share = {
        "equal": np.full(9, 6),
        "leaning": np.arange(9) * 2 + 1,
        "far apart": np.array([1, 1, 1, 23, 23, 23, 1, 1, 23]),
    }
    label = np.concatenate([rng.permutation(np.arange(length) < share[shares][g]) for g in range(documents)]).astype(float)
    scores = rng.normal(size=(documents * length, 40)) + 2 * rng.normal(size=(documents, 40))[ids]
    found = permuted_by_cluster(scores, np.repeat(label[:, None], 40, axis=1), ids)
    blocks = label.reshape(documents, length)
    dealt = np.stack([blocks[rng.permutation(documents)].ravel() for _ in range(4000)], axis=1)
    exact = auroc_matrix(scores, dealt).std(axis=1)
    assert np.mean(found.spread / exact) == pytest.approx(1, abs=0.02)


def test_a_sum_that_no_dealing_reaches_has_a_p_value() -> None:
    """Documents of unequal length and a concept that sees its label well: no saddlepoint, and no missing p."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ids = np.repeat(np.arange(31), rng.integers(8, 60, 31))
        label = (rng.random(len(ids)) < 0.06).astype(float)
        scores = rng.normal(size=len(ids)) + 3 * label
        found.append(permuted_by_cluster(scores[:, None], label[:, None], ids).p[0])
    assert np.isfinite(found).all()
    assert max(found) < 1e-6


def test_the_95th_percentile_agrees_with_p_where_documents_differ_much() -> None:
    rng = np.random.default_rng(1)
    above, significant = [], []
    for _ in range(12):
        ids = np.repeat(np.arange(30), np.maximum(4, rng.lognormal(4, 1, 30)).astype(int))
        label = (rng.permutation(30) < 10)[ids].astype(float)
        scores = rng.normal(size=(len(ids), 40)) + rng.normal(size=(30, 40))[ids]
        found = permuted_by_cluster(scores, np.repeat(label[:, None], 40, axis=1), ids)
        area = auroc_matrix(scores, label[:, None])[:, 0]
        above.append(area > found.high)
        significant.append(found.p <= 0.05)
    assert np.mean(np.concatenate(above) == np.concatenate(significant)) > 0.985
