"""What can be found with so many documents: the smallest effect that a test with a correction sees four times in five."""

from __future__ import annotations

from functools import lru_cache
from math import comb, lgamma

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, norm
from scipy.stats import t as student

from workbench.statistics.clusters import ENOUGH
from workbench.statistics.correction import ALPHA, least_p

POWER = 0.8
_NEAR_ONE = 0.9
"""Above this area the normal bound of the rank sum is no good, and the arrangements that reach it are few enough to count."""


def least_possible_p(positive: int, negative: int) -> float:
    """One over the number of ways in which so many positive documents can lie among all: no permutation p is smaller."""
    total = positive + negative
    return float(np.exp(lgamma(positive + 1) + lgamma(negative + 1) - lgamma(total + 1)))


def most_tests(positive: int, negative: int, alpha: float = ALPHA) -> int:
    """Over how many tests Holm's correction leaves a p value that can be significant."""
    return int(min(alpha / least_possible_p(positive, negative), 1e9))


def detectable_area(positive: int, negative: int, tests: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """The smallest AUROC that is significant with a probability of ``power``, after Holm's correction over ``tests``.

    Args:
        positive: Independent documents with the label.
        negative: Independent documents without it.
        tests: Concepts, or concepts times labels, that are tested together.
        power: Wanted.
        alpha: Level of the corrected test.

    Returns:
        An area in (.5, 1); nan where nothing can be found: fewer than `clusters.ENOUGH` documents of a class, or so many tests
        that the smallest possible p value is not small enough.

    Assumes one row a document, or rows that are alike within documents: scores or labels that vary within documents change it.

    Source: the variance of the rank sum where there is nothing, and beyond .9 the count of its arrangements (Mann and Whitney
    1947); the variance of the area where there is something, of two exponential distributions (Hanley and McNeil 1982).
    """
    level = least_p(tests, alpha)
    if min(positive, negative) < ENOUGH or least_possible_p(positive, negative) > level:
        return float("nan")
    needed = 0.5 + norm.isf(level) * np.sqrt((positive + negative + 1) / (12 * positive * negative))
    if needed > _NEAR_ONE:
        needed = _least_significant(positive, negative, level)

    def short(area: float) -> float:
        spread = _area_error(area, positive, negative)
        return float(norm.sf((needed - area) / spread) - power)

    return float(brentq(short, 0.5, 1 - 1e-9))


def _least_significant(positive: int, negative: int, level: float) -> float:
    """The area from which on the rank sum is significant at a level, by counting; half a step below, as areas go in steps."""
    most = level * comb(positive + negative, positive)
    pairs = positive * negative
    return 1 - (int(np.searchsorted(_ways(min(positive, negative), max(positive, negative)), most, "right")) - 0.5) / pairs


@lru_cache(maxsize=256)
def _ways(few: int, many: int) -> np.ndarray:
    """In how many ways at most 0, 1, 2 and so on of the pairs are the wrong way round, as far as an area of .8.

    So many pairs are a partition into at most ``few`` parts of at most ``many``.
    """
    last = few * many // 5
    ways = [1] + [0] * last
    for part in range(1, few + 1):
        for total in range(part, last + 1):
            ways[total] += ways[total - part]
        for total in range(last, many + part - 1, -1):
            ways[total] -= ways[total - many - part]
    return np.cumsum(np.array(ways, dtype=np.float64))


def _area_error(area: float, positive: int, negative: int) -> float:
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positive - 1) * (first - area**2) + (negative - 1) * (second - area**2)
    return float(np.sqrt(variance / (positive * negative)))


def detectable_shift(draws: int, tests: int, power: float = POWER, alpha: float = ALPHA, degrees: float | None = None) -> float:
    """The smallest value, in standard deviations of its null, that is significant with probability ``power`` after correction.

    Of scores that are held against a few draws of a null that is near to normal, by `nulls.t_tail_p`, in two directions: TCAV
    against random sets, the effect of an edit against random directions.

    Args:
        draws: Of the null.
        tests: That are corrected together.
        power: Wanted.
        alpha: Level of the corrected test.
        degrees: Of freedom of the tail, where it is taken to be heavier than that of normal draws; one less than draws if not.

    Returns:
        Deviations; the value itself is taken to vary as normal draws do.
    """
    critical = student.isf(least_p(tests, alpha) / 2, draws - 1 if degrees is None else degrees)
    wide = np.sqrt(1 + 1 / draws)
    # With a deviation estimated from the draws the ratio has a noncentral t distribution.
    return float(brentq(lambda shift: nct.sf(critical, draws - 1, shift / wide) - power, 0, 50 * wide + critical * 3))
