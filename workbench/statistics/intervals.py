"""Confidence intervals of means, shares, ratios and correlations over clusters, with Student's t and the number of clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.sparse import csr_array
from scipy.stats import t as student

from workbench.errors import ConfigError, DataError
from workbench.statistics.clusters import ENOUGH, cluster_ids, effective_clusters

LEVEL = 0.95
FEWEST = 2.0
"""Clusters of one size that those of a sample must be worth for an interval."""
_COLUMNS = 256
"""Pairs of columns at once: copies of them in float64 are made."""


class Interval(NamedTuple):
    """The two ends of a confidence interval, each ``[c]``; nan where there is none."""

    low: Float[np.ndarray, " c"]
    high: Float[np.ndarray, " c"]


def reach(df: Float[np.ndarray, "*c"] | float, level: float = LEVEL) -> np.ndarray:
    """How many standard errors an interval of Student's t reaches to either side; nan without a degree of freedom.

    Raises:
        ConfigError: for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ConfigError(f"The level of an interval lies between 0 and 1, not {level}: pass .95, for example.")
    df = np.asarray(df, dtype=np.float64)
    return np.where(df > 0, student.ppf((1 + level) / 2, np.where(df > 0, df, 1.0)), np.nan)


def cluster_sums(values: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None) -> Float[np.ndarray, "g c"]:
    """Sum of each column over the rows of each cluster."""
    ids, count = cluster_ids(clusters, len(values))
    return csr_array((np.ones(len(ids)), (ids, np.arange(len(ids)))), shape=(count, len(ids))) @ values


def mean_error(
    values: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"], float]:
    """Mean of each column over its rows, its standard error over clusters, and their effective number g.

    The mean is a ratio of sums over clusters of any size; its error is the linearised one with the factor ``g / (g - 1)``
    (CR1), nan for one cluster. The effective number is `clusters.effective_clusters`: that of clusters where all are of one size.

    Raises:
        DataError: Values are not ``[n, c]``, or there is not one cluster a row.

    Source: Cochran (1977), "Sampling techniques", 3rd edition, 6.4; Cameron and Miller (2015) for clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"Values have the shape {values.shape}: pass [rows, columns].")
    if not len(values):
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan), 0.0
    mean = values.mean(axis=0)
    ids, n_clusters = cluster_ids(clusters, len(values))
    count = float(effective_clusters(np.bincount(ids).astype(float)))
    if n_clusters < 2:
        return mean, np.full(values.shape[1], np.nan), count
    sums = cluster_sums(values - mean, ids)
    return mean, np.sqrt(np.square(sums).sum(axis=0) * count / (count - 1)) / len(values), count


def mean_interval(
    values: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None, level: float = LEVEL
) -> Interval:
    """Interval of the mean of each column: t with one degree of freedom less than there are effective clusters.

    The means of a few clusters of skewed values, such as costs and divergences, are skewed as well, and an interval that reaches
    as far to both sides misses them too often on one. Each end is therefore the farther of that of t and that of t with its
    skewness taken out: it covers 93% with 8 clusters of exponential values, where t alone covers 89%.

    Args:
        values: ``[n, c]``.
        clusters: ``[n]``; None makes every row its own.
        level: Coverage.

    Returns:
        nan where the clusters are worth fewer than two of one size.

    Assumes independent clusters. Source: Hall (1992), "On the removal of skewness by transformation".
    """
    mean, error, count = mean_error(values, clusters)
    if count < FEWEST:
        return Interval(np.full(len(mean), np.nan), np.full(len(mean), np.nan))
    below, above = _reaches(cluster_sums(np.asarray(values, dtype=np.float64) - mean, clusters), count, level)
    return Interval(mean - below * error, mean + above * error)


def _reaches(parts: Float[np.ndarray, "g c"], count: float, level: float) -> tuple[Float[np.ndarray, " c"], ...]:
    """How many standard errors an interval reaches below and above what is estimated, by the skewness of the clusters' parts.

    Args:
        parts: What each cluster adds to the error; their means are 0.
        count: How many clusters of one size they are worth.
        level: Coverage.
    """
    g, spread, half = len(parts), np.square(parts).mean(axis=0), reach(count - 1, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(spread > 0, (parts**3).mean(axis=0) / spread**1.5, 0.0)
    # The factor makes it unbiased for normal parts.
    skew = found * (np.sqrt(g * (g - 1)) / (g - 2) if g > 2 else 0.0) / np.sqrt(count)
    return np.maximum(half, _untransformed(half, skew)), np.maximum(half, -_untransformed(-half, skew))


def _untransformed(z: Float[np.ndarray, " c"] | float, skew: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """The studentised mean whose transformation is ``z``; ``skew`` is the skewness over the root of the number."""
    # Without skewness the transformation changes nothing.
    k = np.where(np.abs(skew) < 1e-6, 1e-6, skew)
    found: np.ndarray = 3 / k * (np.cbrt(1 + k * (z - k / 6)) - 1)
    return found


def ratio_interval(
    above: Float[np.ndarray, " n"], below: Float[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None = None,
    level: float = LEVEL,
) -> tuple[float, float, float]:  # fmt: skip
    """A ratio of two sums over rows, with its interval: ``value, low, high``; none where the clusters are
    worth fewer than two.

    The error is the jackknife's, without one cluster at a time, which covers where few or unequal clusters make the linearised
    one too small.

    Source: Efron and Stein (1981), "The jackknife estimate of variance".
    """
    pair = np.stack([np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)], axis=1)
    sums = cluster_sums(pair, clusters)
    total = sums.sum(axis=0)
    value, worth = float(total[0] / total[1]), float(effective_clusters(sums[:, 1]))
    if len(sums) < 2 or worth < FEWEST:
        return value, np.nan, np.nan
    left = total - sums
    without = (left[:, 0] / left[:, 1])[:, None]
    error, (below, above) = float(_jackknife_error(without)[0]), _reaches(without.mean(axis=0) - without, worth, level)
    return value, value - float(below[0]) * error, value + float(above[0]) * error


def _jackknife_error(without: Float[np.ndarray, "g c"]) -> Float[np.ndarray, " c"]:
    """Standard errors from the values without each cluster (Efron and Stein 1981)."""
    count = len(without)
    error: Float[np.ndarray, " c"] = np.sqrt((count - 1) / count * np.square(without - without.mean(axis=0)).sum(axis=0))
    return error


def share_interval(
    hits: Shaped[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None, level: float = LEVEL
) -> Interval:
    """Interval of a share, inside 0 to 1: Wilson's, with as many trials as the clusters are worth.

    Rows of a cluster that agree are worth fewer independent trials: ``m (1 - m) / error^2``, of the share m and its clustered
    error, and at most n. Where one cluster alone holds a hit or a miss, the sample does not show how alike the rows of a cluster
    are, and there are at most as many trials as clusters; up to `clusters.ENOUGH` of them it is in between.

    Args:
        hits: ``[n, c]`` of 0 and 1, or of shares of a row.
        clusters: ``[n]``; None makes every row its own.
        level: Coverage.

    Source: Wilson (1927), "Probable inference"; the effective sample size of Korn and Graubard (1998).
    """
    hits = np.asarray(hits, dtype=np.float64)
    mean, error, count = mean_error(hits, clusters)
    if count < FEWEST:
        return Interval(np.full(len(mean), np.nan), np.full(len(mean), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = mean * (1 - mean) / np.square(error)
    trials = np.where(error > 0, np.minimum(worth, len(hits)), count)
    held = np.minimum((cluster_sums(hits, clusters) > 0).sum(0), (cluster_sums(1 - hits, clusters) > 0).sum(0))
    known = np.clip((held - 1) / (ENOUGH - 1), 0, 1) ** 2
    trials = np.minimum(trials, count) ** (1 - known) * trials**known
    z = reach(count - 1, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (mean + z**2 / (2 * trials)) / (1 + z**2 / trials)
        half = z / (1 + z**2 / trials) * np.sqrt(mean * (1 - mean) / trials + z**2 / (4 * trials**2))
    low, high = centre - half, centre + half
    return Interval(np.clip(low, 0, 1), np.clip(high, 0, 1))


def correlation_interval(
    first: Float[np.ndarray, "n c"], second: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None,
    level: float = LEVEL,
) -> tuple[Float[np.ndarray, " c"], Interval]:  # fmt: skip
    """Pearson's correlation of each pair of columns, and its interval, made on Fisher's scale so that it ends within -1 and 1.

    Returns:
        The correlations ``[c]`` and the interval; nan where a column is constant.

    There is none where a column is 0 in all but fewer than `clusters.ENOUGH` clusters. Where one is mostly 0, the error is at
    least that of unrelated columns with the same correlations within clusters: of columns that are seldom both something else,
    the jackknife sees next to none.

    Source: Fisher (1921) for the scale; Efron and Stein (1981) for the error, the jackknife's without one cluster at a time; Kish
    (1965) for how much correlations within clusters add to it.
    """
    value, low, high = (np.full(first.shape[1], np.nan) for _ in range(3))
    for begin in range(0, first.shape[1], _COLUMNS):
        part = slice(begin, begin + _COLUMNS)
        value[part], low[part], high[part] = _correlation(first[:, part], second[:, part], clusters, level)
    return value, Interval(low, high)


def _correlation(
    first: Float[np.ndarray, "n c"], second: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = (side.astype(np.float64) - side.mean(0, dtype=np.float64) for side in (first, second))
    ids, count = cluster_ids(clusters, len(a))
    # What correlations are made of, by cluster: rows, sums, squares and products.
    parts = [np.ones_like(a), a, b, a * a, b * b, a * b]
    sums = np.stack([cluster_sums(part, ids) for part in parts])
    total = sums.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = _correlation_of(total)
        below, above = np.full((2, len(r)), np.nan)
        worth = float(effective_clusters(np.bincount(ids).astype(float))) if count > 1 else 0.0
        # Clusters in which a column is 0 throughout, as sparse codes are, tell of one value only.
        holding = np.minimum(*((cluster_sums((side != 0).astype(float), ids) > 0).sum(axis=0) for side in (first, second)))
        if worth >= FEWEST:
            without = np.arctanh(_correlation_of(total[:, None] - sums))
            parts = without.mean(axis=0) - without
            with np.errstate(divide="ignore", invalid="ignore"):
                kurtosis = count * (parts**4).sum(axis=0) / np.square(np.square(parts).sum(axis=0))
            # An error that a few clusters make is known less surely than that of clusters which are alike: Satterthwaite's rule
            # would take away more degrees of freedom, and half as much on the log scale is what covers, see the calibration.
            known = np.minimum(worth, holding)
            steady = np.clip(2 / (np.nan_to_num(kurtosis, nan=3.0) - 1), 2 / worth, 1.0)
            reaches = _reaches(parts, np.maximum(1 + (known - 1) * np.sqrt(steady), 1.0), level)
            error = _jackknife_error(without)
            sparse = np.maximum((first == 0).mean(axis=0), (second == 0).mean(axis=0)) > 0.5
            error[sparse] = np.maximum(error, _unrelated_error(sums))[sparse]
            error[holding < np.minimum(ENOUGH, count)] = np.nan
            below, above = (part * error for part in reaches)
        return r, np.tanh(np.arctanh(r) - below), np.tanh(np.arctanh(r) + above)


def _unrelated_error(sums: Float[np.ndarray, "6 g c"]) -> Float[np.ndarray, " c"]:
    """The standard error of the correlation of columns that are unrelated, from the sums of centred columns by cluster."""
    rows, a, b, aa, bb, _ = sums
    n, pairs = rows.sum(axis=0), (rows * (rows - 1)).sum(axis=0)
    # The correlations of two rows of a cluster, over all such pairs.
    within = [
        np.clip((np.square(side).sum(axis=0) - squares.sum(axis=0)) / np.maximum(pairs, 1) * n / squares.sum(axis=0), 0, 1)
        for side, squares in ((a, aa), (b, bb))
    ]
    return np.sqrt((1 + pairs / n * within[0] * within[1]) / n)


def _correlation_of(sums: Float[np.ndarray, "6 *c"]) -> Float[np.ndarray, "*c"]:
    n, a, b, aa, bb, ab = sums
    r = (ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n))
    # A correlation of 1 has no error of its own, and no place on Fisher's scale.
    return np.clip(r, -1 + 1e-9, 1 - 1e-9)
