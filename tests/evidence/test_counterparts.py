"""Co-firing and its interval: what they are where the truth is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.evidence.stability import cofiring
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
