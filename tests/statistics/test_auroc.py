from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from workbench.errors import DataError
from workbench.statistics.auroc import (
    Area,
    auroc_matrix,
    average_precision,
    clustered_auroc,
)
from workbench.statistics.clusters import Counts
from workbench.statistics.ranks import midranks


@st.composite
def scored_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores full of ties, and labels with unknown rows."""
    n, c = draw(st.integers(4, 40)), draw(st.integers(1, 4))
    scores = draw(arrays(np.float32, (n, c), elements=st.sampled_from([0, 0, 0, -1.5, 0.25, 1, 2])))
    labels = draw(arrays(np.float32, (n, c), elements=st.sampled_from([0, 1, 1, 0, np.nan])))
    return scores, labels


def has_both(label: np.ndarray) -> bool:
    return bool((label == 0).any() and (label == 1).any())


@given(scored_labels())
@settings(max_examples=150)
def test_every_score_agrees_with_sklearn_with_ties_and_unknown_rows(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, labels = case
    matrix = auroc_matrix(scores, labels)
    paired = clustered_auroc(scores, labels).value
    precision = average_precision(scores, labels)
    np.testing.assert_allclose(np.diag(matrix), paired, rtol=1e-9)
    for column in range(labels.shape[1]):
        known = ~np.isnan(labels[:, column])
        truth = labels[known, column]
        if (truth == 1).any():
            expected = average_precision_score(truth, scores[known, column])
            assert precision[column] == pytest.approx(expected)
        else:
            assert np.isnan(precision[column])
        for concept in range(scores.shape[1]):
            if has_both(truth):
                expected = roc_auc_score(truth, scores[known, concept])
                assert matrix[concept, column] == pytest.approx(expected)
            else:
                assert np.isnan(matrix[concept, column])


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 5)),
        elements=st.sampled_from([0, 0, 1, 2, 5]),
    )
)
def test_midranks_are_scipys(scores: np.ndarray) -> None:
    np.testing.assert_array_equal(midranks(scores), rankdata(scores, axis=0))


def test_a_perfect_score_is_one_and_its_reverse_is_zero() -> None:
    labels = np.array([[0.0], [0], [1], [1]])
    assert auroc_matrix(np.arange(4.0)[:, None], labels)[0, 0] == 1
    assert auroc_matrix(-np.arange(4.0)[:, None], labels)[0, 0] == 0


def test_delong_error_matches_the_definition() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(60) < 0.4).astype(float)
    score = np.round(rng.standard_normal(60) + label, 1)
    pos, neg = score[label == 1], score[label == 0]
    kernel = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)
    variance = kernel.mean(1).var(ddof=1) / len(pos) + kernel.mean(0).var(ddof=1) / len(neg)
    area = clustered_auroc(score[:, None], label[:, None])
    assert area.value[0] == pytest.approx(kernel.mean())
    assert area.error[0] == pytest.approx(np.sqrt(variance))


def clustered(rng: np.random.Generator, n_clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples of 5-15 tokens: the label, a shared offset, and labels that lean one way in an example."""
    ids = np.repeat(np.arange(n_clusters), rng.integers(5, 16, n_clusters))
    lean = rng.beta(0.7, 0.7, n_clusters)
    label = (rng.random(len(ids)) < lean[ids]).astype(float)
    score = label + rng.standard_normal(n_clusters)[ids] + rng.standard_normal(len(ids))
    return score, label, ids


def test_clustered_intervals_cover_and_unclustered_ones_do_not() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    # label and offset are independent, so two rows differ by N(1, 2 * (1 + 1)).
    truth = norm.cdf(1 / 2)
    hits = {"clustered": 0, "rows": 0}
    for _ in range(300):
        score, label, ids = clustered(rng, 50)
        for name, clusters in (("clustered", ids), ("rows", None)):
            low, high = clustered_auroc(score[:, None], label[:, None], clusters).interval()
            hits[name] += int(low[0] <= truth <= high[0])
    assert 0.90 <= hits["clustered"] / 300 <= 0.985, hits
    assert hits["rows"] / 300 < 0.85, hits


def test_clustered_error_matches_the_cluster_bootstrap() -> None:
    rng = np.random.default_rng(1)
    score, label, ids = clustered(rng, 80)
    members = [np.flatnonzero(ids == k) for k in range(80)]
    draws = []
    for _ in range(400):
        rows = np.concatenate([members[k] for k in rng.integers(0, 80, 80)])
        draws.append(auroc_matrix(score[rows, None], label[rows, None])[0, 0])
    assert clustered_auroc(score[:, None], label[:, None], ids).error[0] == pytest.approx(np.std(draws), rel=0.15)


def test_intervals_stay_inside_and_a_perfect_score_is_not_certain() -> None:
    ten, many = np.full(3, 10), np.full(3, 20)
    value, error = np.array([0.99, 1.0, 0.0]), np.array([0.05, 0.0, 0.0])
    low, high = Area(value, error, np.full(3, 18.0), Counts(ten, ten, many, ten), np.zeros(3, bool)).interval()
    assert (low >= 0).all()
    assert (high <= 1).all()
    assert 0 < low[0] < 0.99 < high[0] < 1
    assert low[1] == pytest.approx(0.025**0.1)
    assert high[2] == pytest.approx(1 - 0.025**0.1)


def test_shuffled_labels_give_one_half_within_the_interval() -> None:
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((500, 200))
    labels = (rng.random((500, 200)) < 0.3).astype(float)
    area = clustered_auroc(scores, labels)
    low, high = area.interval()
    inside = (low <= 0.5) & (high >= 0.5)
    assert inside.mean() > 0.9
    assert area.value.mean() == pytest.approx(0.5, abs=0.01)


def test_columns_in_blocks_equal_columns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    scores = np.maximum(rng.standard_normal((50, 9)) - 0.5, 0)
    labels = (rng.random((50, 9)) < 0.5).astype(float)
    whole = auroc_matrix(scores, labels), clustered_auroc(scores, labels).error, average_precision(scores, labels)
    monkeypatch.setattr("workbench.statistics.auroc._BLOCK_CELLS", 100)
    np.testing.assert_array_equal(whole[0], auroc_matrix(scores, labels))
    np.testing.assert_array_equal(whole[1], clustered_auroc(scores, labels).error)
    np.testing.assert_array_equal(whole[2], average_precision(scores, labels))


def test_one_positive_cluster_has_no_error() -> None:
    labels = np.array([1.0, 1, 0, 0, 0, 0])[:, None]
    area = clustered_auroc(np.arange(6.0)[:, None], labels, np.array([0, 0, 1, 1, 2, 2]))
    assert area.value[0] == 0
    assert np.isnan(area.error[0])


def test_below_eight_clusters_of_a_class_there_is_no_interval() -> None:
    score = np.random.default_rng(0).standard_normal((300, 1))
    for positive in (7, 8):
        label = np.repeat(np.arange(30) < positive, 10).astype(float)[:, None]
        area = clustered_auroc(score, label, np.repeat(np.arange(30), 10))
        assert area.counts.positive[0] == positive
        assert np.isfinite(area.value[0])
        assert np.isfinite(area.interval().low[0]) == (positive == 8)
        assert ("7 positive clusters" in area.counts.reason(0)) == (positive == 7)


def test_wrong_input_says_what_to_do() -> None:
    good = np.array([[0.0], [1.0]])
    with pytest.raises(DataError, match="1, 0 and nan"):
        auroc_matrix(good, np.array([[0.0], [2.0]]))
    with pytest.raises(DataError, match="nan or infinity"):
        auroc_matrix(np.array([[0.0], [np.inf]]), good)
    with pytest.raises(DataError, match="do not fit"):
        clustered_auroc(np.zeros((2, 2)), good)
    with pytest.raises(DataError, match="one cluster a row"):
        clustered_auroc(good, good, np.array([1]))
