"""Confidence intervals of means, shares, ratios and correlations over clusters, with Student's t and the number of clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import t as student

from workbench.errors import ConfigError, DataError
from workbench.statistics.clusters import ENOUGH, cluster_ids, effective_clusters

LEVEL = 0.95
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
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, ids, values)
    return sums


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

    Args:
        values: ``[n, c]``.
        clusters: ``[n]``; None makes every row its own.
        level: Coverage.

    Returns:
        nan where there are fewer than two clusters.

    Assumes independent clusters, and a mean over them that is near to normal.
    """
    mean, error, count = mean_error(values, clusters)
    half = reach(count - 1, level) * error
    return Interval(mean - half, mean + half)


def ratio_interval(
    above: Float[np.ndarray, " n"], below: Float[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None = None,
    level: float = LEVEL,
) -> tuple[float, float, float]:  # fmt: skip
    """A ratio of two sums over rows, with its interval: ``value, low, high``; no interval for one cluster.

    The error is the jackknife's, without one cluster at a time, which covers where few or unequal clusters make the linearised
    one too small.

    Source: Efron and Stein (1981), "The jackknife estimate of variance".
    """
    pair = np.stack([np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)], axis=1)
    sums = cluster_sums(pair, clusters)
    total = sums.sum(axis=0)
    value, count = float(total[0] / total[1]), len(sums)
    if count < 2:
        return value, np.nan, np.nan
    left = total - sums
    worth = float(effective_clusters(sums[:, 1]))
    half = float(reach(worth - 1, level)) * float(_jackknife_error((left[:, 0] / left[:, 1])[:, None])[0])
    return value, value - half, value + half


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
    error, and at most n. Where all rows agree, or fewer than `clusters.ENOUGH` clusters hold a hit or a miss, there are at most
    as many trials as clusters.

    Args:
        hits: ``[n, c]`` of 0 and 1, or of shares of a row.
        clusters: ``[n]``; None makes every row its own.
        level: Coverage.

    Source: Wilson (1927), "Probable inference"; the effective sample size of Korn and Graubard (1998).
    """
    hits = np.asarray(hits, dtype=np.float64)
    mean, error, count = mean_error(hits, clusters)
    if count < 2:
        return Interval(np.full(len(mean), np.nan), np.full(len(mean), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = mean * (1 - mean) / np.square(error)
    trials = np.where(error > 0, np.minimum(worth, len(hits)), count)
    # Where few clusters hold a hit, or a miss, the sample does not show how alike their rows are.
    held = np.minimum((cluster_sums(hits, clusters) > 0).sum(0), (cluster_sums(1 - hits, clusters) > 0).sum(0))
    trials = np.where(held < ENOUGH, np.minimum(trials, count), trials)
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

    Source: Fisher (1921) for the scale; Efron and Stein (1981) for the error, the jackknife's without one cluster at a time.
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
        half = np.full(len(r), np.nan)
        if count > 1:
            worth = effective_clusters(np.bincount(ids).astype(float))
            half = reach(worth - 1, level) * _jackknife_error(np.arctanh(_correlation_of(total[:, None] - sums)))
        return r, np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)


def _correlation_of(sums: Float[np.ndarray, "6 *c"]) -> Float[np.ndarray, "*c"]:
    n, a, b, aa, bb, ab = sums
    r = (ab - a * b / n) / np.sqrt((aa - a * a / n) * (bb - b * b / n))
    # A correlation of 1 has no error of its own, and no place on Fisher's scale.
    return np.clip(r, -1 + 1e-9, 1 - 1e-9)
