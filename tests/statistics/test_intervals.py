"""Intervals cover, corrections are those of statsmodels and scipy, and a measured row never stands without its null."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, false_discovery_control, ttest_1samp

from workbench.errors import ConfigError, DataError
from workbench.statistics.clusters import example_clusters
from workbench.statistics.correction import benjamini_hochberg, holm, least_p
from workbench.statistics.few_draws import rank_or_tail_p
from workbench.statistics.intervals import correlation_interval, mean_interval, ratio_interval, share_interval
from workbench.statistics.nulls import pareto_tail_p, rank_p, t_tail_p, upper
from workbench.statistics.rows import NoNull, Null, row

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(size=(6, 1))
    # Without skewness.
    values = np.concatenate([0.3 + values, 0.3 - values])
    truth = ttest_1samp(values[:, 0], 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert (found.low[0], found.high[0]) == pytest.approx((truth.low, truth.high))


def test_means_and_ratios_over_clusters_cover() -> None:
    rng = np.random.default_rng(1)
    covered = {"mean": 0, "ratio": 0, "rows": 0}
    for _ in range(400):
        sizes = rng.integers(3, 9, 12)
        cluster = np.repeat(np.arange(12), sizes)
        values = rng.normal(size=12)[cluster] + rng.normal(size=len(cluster)) + 2
        low, high = mean_interval(values[:, None], cluster)
        covered["mean"] += low[0] <= 2 <= high[0]
        low, high = mean_interval(values[:, None])
        covered["rows"] += low[0] <= 2 <= high[0]
        below = rng.uniform(1, 3, 12)[cluster]
        _, lowest, highest = ratio_interval(values * below, below, cluster)
        covered["ratio"] += lowest <= 2 <= highest
    assert covered["rows"] < 340
    for name in ("mean", "ratio"):
        assert binom.cdf(covered[name], 400, 0.93) > 0.001, covered


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_shares_over_clusters_cover_and_stay_inside(share: float) -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        cluster = np.repeat(np.arange(25), 6)
        # Half of the documents are of one kind throughout.
        whole = (rng.random(25) < share)[cluster]
        alone = rng.random(len(cluster)) < share
        found = share_interval(np.where((np.arange(25) % 2 == 0)[cluster], whole, alone)[:, None], cluster)
        assert 0 <= found.low[0] <= found.high[0] <= 1
        hits += found.low[0] <= share <= found.high[0]
    assert binom.cdf(hits, 400, 0.93) > 0.001, hits


def test_one_cluster_has_no_interval() -> None:
    assert np.isnan(mean_interval(np.ones((3, 1)), np.zeros(3)).low[0])
    assert np.isnan(share_interval(np.ones((3, 1)), np.zeros(3)).low[0])


@given(P_VALUES)
def test_corrections_are_those_of_statsmodels_and_scipy(values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.array(values)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))
    more = holm(p, len(p) + 10)
    assert (more >= holm(p) - 1e-12).all()
    assert (holm(np.append(p, np.nan))[:-1] == holm(p)).all()


def test_a_correction_of_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        holm(np.array([1.2]))
    assert least_p(1000) == pytest.approx(5e-5)


def test_the_level_of_few_draws_is_exceeded_one_time_in_twenty() -> None:
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(20, 20_000))
    exceeded = (draws[0] > upper(draws[1:])).mean()
    assert exceeded == pytest.approx(0.05, abs=0.006)
    # The plain quantile of ten draws, as it was used before.
    assert (draws[0] > np.quantile(draws[1:11], 0.95, axis=0)).mean() > 0.1
    with pytest.raises(ConfigError, match="19 are the least"):
        upper(draws[:18])


def test_p_values_of_draws_hold() -> None:
    rng = np.random.default_rng(4)
    draws = rng.normal(3, 2, size=(31, 40_000))
    tail = t_tail_p(draws[0], draws[1:])
    for level in (0.05, 0.001):
        assert binom.sf((tail <= level).sum(), 40_000, level) > 0.001
        assert binom.cdf((tail <= level).sum(), 40_000, level) > 0.001
    ranks = [rank_p(one, rest) for one, rest in zip(draws[0, :4000], draws[1:20, :4000].T, strict=True)]
    assert binom.sf((np.array(ranks) <= 0.05).sum(), 4000, 0.05) > 0.001
    assert min(ranks) >= 0.05


def test_a_row_has_its_null_or_the_reason_why_not() -> None:
    found = row("a.b", 0.7, Null(0.5, 0.6, 0.01, "all of them"), n=10, low=0.6, high=0.8, label="x")
    assert (found["null"], found["p"], found["family"], found["label"]) == (0.5, 0.01, "all of them", "x")
    assert "null" not in row("a.b", 0.7, NoNull("a setting"), n=10)
    assert row("a.b", 0.7, Null(0.5, 0.6, 0.0, "all of them"), n=10)["p"] > 0
    failed = row("a.b", float("nan"), Null(0.5), n=10)
    assert failed["status"] == "failed"
    assert "not a finite number" in failed["error"]
    with pytest.raises(ConfigError, match="no family"):
        row("a.b", 0.7, Null(0.5, 0.6, 0.01), n=10)


def test_clusters_are_documents_and_copies_are_one(texts_with_copies) -> None:
    clusters = example_clusters(texts_with_copies, np.arange(5))
    assert len(set(clusters.tolist())) == 3
    with pytest.raises(DataError, match="one cluster a row"):
        mean_interval(np.ones((4, 1)), np.zeros(3))


@pytest.fixture
def texts_with_copies(tmp_path):
    import pandas as pd

    import workbench as wb

    table = pd.DataFrame({"text": ["a b", "c d", "a b", "e f", "g h"], "kind": list("xyxyx"), "book": ["1", "1", "2", "3", "4"]})
    table.to_csv(tmp_path / "texts.csv", index=False)
    return wb.load_dataset(tmp_path / "texts.csv", labels="kind", group="book")


@pytest.mark.parametrize("clusters", [8, 16, 60])
def test_intervals_of_skewed_values_cover(clusters: int) -> None:
    """Exponential values, such as costs: Student's interval covers 89% with eight."""
    rng = np.random.default_rng(clusters)
    values = rng.exponential(size=(clusters, 4000))
    for sign in (1, -1):
        low, high = mean_interval(sign * values)
        assert ((low <= sign) & (high >= sign)).mean() >= 0.93
    covered = []
    for column in range(600):
        below = rng.uniform(1, 3, clusters)
        _, low_one, high_one = ratio_interval(values[:, column] * below, below)
        covered.append(low_one <= 1 <= high_one)
    assert np.mean(covered) >= 0.9


def test_clusters_that_are_worth_one_have_no_interval() -> None:
    clusters = np.concatenate([np.zeros(190), np.arange(1, 11)])
    values = np.random.default_rng(0).normal(size=(200, 1))
    assert np.isnan(mean_interval(values, clusters).low).all()
    assert np.isnan(share_interval(values > 0, clusters).high).all()
    assert np.isnan(ratio_interval(values[:, 0], np.ones(200), clusters)[1:]).all()


def test_the_interval_of_a_share_does_not_jump_with_one_more_document() -> None:
    """One miss in each of some documents: the more of them, the better is it known how alike the rows of one are."""
    clusters = np.repeat(np.arange(31), 28)
    widths = []
    for misses in range(4, 12):
        hits = np.ones(len(clusters))
        hits[np.arange(misses) * 28] = 0
        low, high = share_interval(hits[:, None], clusters)
        widths.append(float(high[0] - low[0]))
    assert max(widths[i] / widths[i + 1] for i in range(len(widths) - 1)) < 2


def test_a_fitted_tail_keeps_its_level_where_the_null_is_heavy() -> None:
    rng = np.random.default_rng(0)
    for draws in (rng.normal(size=(401, 30_000)), rng.exponential(size=(401, 30_000))):
        p = rank_or_tail_p((draws[1:] >= draws[0]).sum(0), 400, pareto_tail_p(draws[0], draws[1:]))
        for level in (0.05, 0.001):
            assert (p <= level).sum() <= binom.ppf(1 - 1e-4, len(p), level)
    null = rng.normal(size=(400, 1))
    assert pareto_tail_p(np.array([8.0]), null)[0] < 1e-5
    assert np.isnan(pareto_tail_p(np.array([8.0]), null[:100])[0])


@pytest.mark.parametrize(("documents", "rows", "threshold"), [(100, 20, 2.0), (400, 1, 1.5)])
def test_unrelated_latents_that_seldom_fire_together_are_not_said_to_exclude_each_other(documents, rows, threshold) -> None:
    drawn = np.random.default_rng(0).standard_normal((2, documents * rows, 200))
    first, second = np.maximum(drawn - threshold, 0)
    _, (low, high) = correlation_interval(first, second, np.repeat(np.arange(documents), rows))
    assert ((low <= 0) & (high >= 0)).mean() >= 0.93


def test_a_latent_that_fires_in_few_documents_has_no_interval_of_its_correlation() -> None:
    rng, documents = np.random.default_rng(1), np.repeat(np.arange(40), 5)
    dense, sparse = rng.random((200, 1)), np.zeros((200, 1))
    for firing, known in ((7, False), (8, True)):
        sparse[: firing * 5] = rng.random((firing * 5, 1))
        value, (low, high) = correlation_interval(dense, sparse, documents)
        assert np.isfinite(value).all()
        assert np.isfinite([low, high]).all() == known
