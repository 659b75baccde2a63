"""What is said to be detectable is detected four times in five."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from workbench.statistics.correction import holm
from workbench.statistics.nulls import t_tail_p
from workbench.statistics.permutation import permuted_by_cluster
from workbench.statistics.planning import detectable_area, detectable_shift, least_possible_p, most_tests


@pytest.mark.parametrize(("positives", "n", "tests"), [(30, 200, 1000), (150, 1000, 1000), (20, 60, 1), (12, 300, 50)])
def test_the_planned_area_is_found_four_times_in_five(positives: int, n: int, tests: int) -> None:
    area = detectable_area(positives, n - positives, tests)
    label = (np.arange(n) < positives).astype(float)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(n, 400)) + np.sqrt(2) * norm.ppf(area) * label[:, None]
    p = permuted_by_cluster(scores, np.repeat(label[:, None], 400, axis=1)).p
    found = np.mean([holm(np.array([one]), tests)[0] <= 0.05 for one in p])
    # The error is that of exponential scores, which is larger than that of these: found somewhat more often.
    assert 0.75 < found < 0.9


@pytest.mark.parametrize(("positives", "negatives", "tests"), [(8, 23, 16_384), (8, 60, 1000), (10, 12, 1000)])
def test_what_only_counting_shows_is_found_four_times_in_five(positives: int, negatives: int, tests: int) -> None:
    """Where the normal bound of the rank sum is above 1 although a p value can be small enough."""
    area = detectable_area(positives, negatives, tests)
    rng = np.random.default_rng(0)
    high = rng.normal(size=(positives, 400)) + np.sqrt(2) * norm.ppf(area)
    p = mannwhitneyu(high, rng.normal(size=(negatives, 400)), alternative="greater", method="exact").pvalue
    found = (p * tests <= 0.05).mean()
    # The error of exponential scores again: no less than four times in five, and not nearly always.
    assert 0.78 < found < 0.95


def test_nothing_can_be_found_with_too_few_documents_or_too_many_tests() -> None:
    assert np.isnan(detectable_area(7, 500, 1))
    assert least_possible_p(8, 7) == pytest.approx(1 / comb(15, 8))
    assert most_tests(8, 7) == 321
    assert np.isnan(detectable_area(8, 8, 100_000))
    assert detectable_area(30, 170, 1000) > detectable_area(30, 170, 1)
    assert most_tests(8, 23) > 300_000
    assert 0.9 < detectable_area(8, 23, 16_384) < 1


@pytest.mark.parametrize(("draws", "tests"), [(30, 20), (60, 400)])
def test_the_planned_shift_is_found_four_times_in_five(draws: int, tests: int) -> None:
    shift = detectable_shift(draws, tests)
    rng = np.random.default_rng(1)
    p = t_tail_p(rng.normal(size=4000) + shift, rng.normal(size=(draws, 4000)))
    assert (p * tests <= 0.05).mean() == pytest.approx(0.8, abs=0.025)
