"""Co-firing and its interval: what they are where the truth is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.evidence.cofiring import best_by_chance, cofiring
from workbench.statistics.intervals import Interval, correlation_interval


def cofiring_interval(first: np.ndarray, second: np.ndarray, cluster: np.ndarray) -> Interval:
    return correlation_interval(first, second, cluster)[1]


def correlated(rng: np.random.Generator, rho: float, clusters: int, each: int, columns: int) -> tuple[np.ndarray, ...]:
    """Pairs of codes of correlation rho; half of the variance of both is that of the row's example."""

    def one() -> np.ndarray:
        return (rng.normal(size=(clusters, 1, columns)) + rng.normal(size=(clusters, each, columns))).reshape(-1, columns)

    first = one()
    return first, rho * first + np.sqrt(1 - rho**2) * one(), np.repeat(np.arange(clusters), each)


def test_the_interval_holds_the_planted_correlation_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    for rho in (0.0, 0.6, 0.9):
        first, second, cluster = correlated(rng, rho, clusters=80, each=12, columns=400)
        low, high = cofiring_interval(first, second, cluster)
        assert 0.92 <= ((low <= rho) & (rho <= high)).mean() <= 0.97
        # Rows taken for independent are sure of too much.
        low, high = cofiring_interval(first, second, np.arange(len(first)))
        assert ((low <= rho) & (rho <= high)).mean() < 0.90


@given(st.integers(0, 10_000))
def test_rows_that_say_nothing_new_make_no_interval_smaller(seed: int) -> None:
    first, second, cluster = correlated(np.random.default_rng(seed), 0.5, clusters=9, each=3, columns=4)
    low, high = cofiring_interval(first, second, cluster)
    value = np.diag(cofiring(first, second))
    assert (low < value).all()
    assert (value < high).all()
    assert (low >= -1).all()
    assert (high <= 1).all()
    for once, twice in zip(
        (low, high), cofiring_interval(*(np.repeat(x, 2, axis=0) for x in (first, second, cluster))), strict=True
    ):
        np.testing.assert_allclose(once, twice, atol=1e-9)


def test_a_constant_code_has_no_interval() -> None:
    ones, noise = np.ones((20, 1)), np.random.default_rng(0).normal(size=(20, 1))
    low, high = cofiring_interval(np.hstack([ones, noise]), np.hstack([noise, noise]), np.arange(20))
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] > 0.99


def _documents(rng: np.random.Generator, follow: int, columns: int, documents: int = 40, each: int = 25) -> np.ndarray:
    """Codes of unrelated concepts, the first ``follow`` of which mostly follow the document."""
    codes = rng.normal(size=(documents * each, columns))
    codes[:, :follow] *= 0.3
    codes[:, :follow] += np.repeat(rng.normal(size=(documents, follow)), each, axis=0)
    return codes


def test_unrelated_concepts_that_follow_documents_are_beyond_chance_one_time_in_twenty() -> None:
    rng, clusters, beyond = np.random.default_rng(0), np.repeat(np.arange(40), 25), []
    for seed in range(30):
        first, second = _documents(rng, 4, 20), _documents(rng, 4, 20)
        chance, found = best_by_chance(first, second, clusters, clusters, seed), cofiring(first, second)
        beyond.append(np.stack([found.max(1) > chance.first, found.max(0) > chance.second]))
    shares = np.mean(beyond, axis=(0, 1))
    assert shares[:4].mean() < 0.09
    assert shares[4:].mean() < 0.08


def test_the_same_concept_is_beyond_chance_also_where_it_is_a_place_in_the_text() -> None:
    rng, clusters = np.random.default_rng(1), np.repeat(np.arange(12), 10)
    first, second = rng.normal(size=(2, 120, 5))
    begins = np.tile(np.arange(10) == 0, 12).astype(float)
    first[:, 0], second[:, 3] = begins, begins + 0.1 * rng.normal(size=120)
    chance = best_by_chance(first, second, clusters, clusters, 0)
    assert cofiring(first, second)[0, 3] > max(chance.first[0], chance.second[3])


def test_few_documents_have_no_level() -> None:
    codes = np.random.default_rng(0).normal(size=(70, 3))
    chance = best_by_chance(codes, codes, np.arange(70), np.repeat(np.arange(7), 10), 0)
    assert np.isnan(chance.first).all()
    assert np.isnan(chance.second).all()
