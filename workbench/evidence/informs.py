"""Information of concepts about labels, in bits: a concept cut into bins, its bias taken off by dealt labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import xlogy

from workbench.evidence.attempts import Found
from workbench.evidence.family import Family, Tried
from workbench.evidence.metrics import QUESTIONS, of_family
from workbench.statistics.clusters import cluster_ids, count_clusters
from workbench.statistics.dealing import dealt_labels
from workbench.statistics.intervals import cluster_sums, reach
from workbench.statistics.nulls import upper

BINS = 8
# Finer towards the top, where a rare label must be told from the rest: one row in a hundred still has a bin of its own.
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.99)
DEALS = 99


class Bits(NamedTuple):
    """Information in bits, each ``[c]``; nan where a class is in too few clusters; no interval where the concept does not vary.

    Attributes:
        value: Plug-in estimate less its mean under dealt labels, which is its bias where there is nothing to find; it may be
            negative. The null is therefore 0.
        low, high: Interval over clusters; it is below 0 only to hold a value below 0.
        null_high: The 95th percentile of the value under dealt labels.
    """

    value: Float[np.ndarray, " c"]
    low: Float[np.ndarray, " c"]
    high: Float[np.ndarray, " c"]
    null_high: Float[np.ndarray, " c"]


def information(
    z: Float[np.ndarray, "n c"], y: Float[np.ndarray, "n c"], clusters: Int[np.ndarray, "n"], seed: int, deals: int = DEALS
) -> Bits:
    """Mutual information of concept j, cut into bins, with label j.

    Zero codes of a sparse concept form a bin of their own and the other values are cut at equal counts; a dense concept is cut
    at fixed quantiles, finer towards the top. The error is that of the clusters' contributions, and at least the deviation
    under dealt labels: at 0 the contributions vanish though the estimate does not.

    Args:
        z: ``[n, c]``.
        y: ``[n, c]`` of 1, 0 and nan.
        clusters: ``[n]``.
        seed: Of the labels that are dealt out among clusters.
        deals: How often.
    """
    out = Bits(*(np.full(z.shape[1], np.nan) for _ in range(4)))
    counts = count_clusters(y, clusters)
    groups: dict[bytes, list[int]] = {}
    for column in range(z.shape[1]):
        groups.setdefault(y[:, column].tobytes(), []).append(column)
    for columns in groups.values():
        label = y[:, columns[0]]
        known = ~np.isnan(label)
        if not known.any():
            continue
        target, ids = label[known] == 1, cluster_ids(clusters[known], int(known.sum()))[0]
        dealt = dealt_labels(target, ids, deals, seed) if counts.enough[columns[0]] else np.empty((0, len(target)), dtype=bool)
        every = np.concatenate([target[None], dealt]).astype(np.float32)
        for column in columns:
            _fill(out, column, _bins(z[known, column]), every, ids)
    return out


def _fill(
    out: Bits, column: int, bins: Int[np.ndarray, "n"], labels: Float[np.ndarray, "b n"], ids: Int[np.ndarray, "n"]
) -> None:
    values = _bits(bins, labels)
    found, null = values[0], values[1:]
    if not len(null):
        # Without a null there is no telling how much of it is bias.
        return
    contributions = _pointwise(bins, labels[0] == 1)
    sums = cluster_sums((contributions - found)[:, None], ids)[:, 0]
    count = len(sums)
    error = np.sqrt(np.square(sums).sum() * count / (count - 1)) / len(bins)
    value, spread = found - null.mean(), float(null.std(ddof=1))
    out.value[column], out.null_high[column] = value, upper(null - null.mean())
    # Information grows with the square of what is there, and its error with it: the interval is made on the scale of the root.
    half = float(reach(count - 1)) * np.sqrt(error**2 + spread**2)
    if not half > 0:
        return
    root = np.sqrt(max(value, half / 2, 1e-12))
    around = half / (2 * root)
    out.low[column] = (root - around) ** 2 if value > half / 2 else min(0.0, value)
    out.high[column] = (root + around) ** 2


def _bits(bins: Int[np.ndarray, "n"], labels: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b"]:
    n, sizes = len(bins), np.bincount(bins)
    # Counts are whole numbers below 2^24: exact in float32, and one product for all the labels dealt.
    inside = np.zeros((n, len(sizes)), dtype=np.float32)
    inside[np.arange(n), bins] = 1
    positive = (labels @ inside).astype(np.float64)
    negative = sizes - positive
    total = positive.sum(1)
    joint = xlogy(positive, positive).sum(1) + xlogy(negative, negative).sum(1)
    apart = xlogy(sizes, sizes).sum() + xlogy(total, total) + xlogy(n - total, n - total)
    found: Float[np.ndarray, "b"] = ((joint - apart) / n + np.log(n)) / np.log(2)
    return found


def _pointwise(bins: Int[np.ndarray, "n"], target: np.ndarray) -> Float[np.ndarray, "n"]:
    table = np.bincount(bins * 2 + target, minlength=2 * (int(bins.max()) + 1)).reshape(-1, 2) / len(bins)
    outer = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        pointwise = np.where(table > 0, np.log2(table / outer), 0.0)
    found: Float[np.ndarray, "n"] = pointwise[bins, target.astype(np.int64)]
    return found


def _bins(z: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    zero = z == 0
    if zero.mean() < 0.05:
        return np.searchsorted(np.unique(np.quantile(z, QUANTILES)), z, side="right")
    bins = np.zeros(len(z), dtype=np.int64)
    present = z[~zero]
    if len(present):
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS)[1:-1]))
        bins[~zero] = 1 + np.searchsorted(edges, present, side="right")
    return bins


class Informs(Family):
    """How many bits a concept carries about its label."""

    name = "informs"
    question = QUESTIONS["informs"]
    metrics = of_family("informs")

    def measure(self, tried: Tried) -> Found:
        """The rows of the pass in which labels were chosen."""
        return tried.detection.of_family("informs"), {}
