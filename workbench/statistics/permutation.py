"""Whether a score tells a label apart, by clusters: documents keep their scores and are dealt one another's labels.

If score and label have nothing to do with each other, any document could as well have had the labels of any other. Labels stay
in their order within a document, so that their runs are kept; a document gets those of others that are about as long or longer,
as many as it has rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import hypergeom, norm

from workbench.errors import DataError
from workbench.statistics.clusters import Counts, cluster_ids, count_clusters
from workbench.statistics.correction import ALPHA
from workbench.statistics.dealing import givers
from workbench.statistics.ranks import midranks_by_column
from workbench.statistics.saddlepoint import Sums, upper_tail

_KINDS = 16_384
"""Parts of one sum that are kept: of many clusters each is paired with the labels of some others, drawn at random, not of all."""
_COUNTED, _GRID = 40, 256
"""Scores whose sums are counted exactly, at most, and the grid that they are rounded to."""
_FAR_FROM_HALF = 0.7
"""A mean of the null from which on a large p value can be due to what label and score have in common with the place."""
_NEAR = 0.05
"""How far, in deviations, the 95th percentile may lie from a first guess before it is looked for once more."""
_CELLS = 1 << 22
"""Parts of many sums at a time: 32 MiB of float64."""


@dataclass(frozen=True)
class Permuted:
    """How an area under the ROC curve would vary if labels were dealt out among clusters; each ``[c]``.

    Attributes:
        p: Probability of an area at least as large; nan where a class is in fewer clusters than `clusters.ENOUGH`.
        mean: The mean: one half, or more where label and score both follow the place in a document; nan there as well.
        high: The 95th percentile; nan there as well.
        spread: The standard deviation; nan there as well.
        counts: Clusters of each class.
    """

    p: Float[np.ndarray, " c"]
    mean: Float[np.ndarray, " c"]
    high: Float[np.ndarray, " c"]
    spread: Float[np.ndarray, " c"]
    counts: Counts

    def remark(self, number: int) -> str:
        """What keeps the p value of a column large that follows the place in the document as its label does; else empty."""
        if not (self.mean[number] >= _FAR_FROM_HALF and self.p[number] > ALPHA):
            return ""
        return (
            "label and concept both follow the place in the document: documents that get one another's labels have an AUROC of"
            f" {self.mean[number]:.2f}, so that this test says nothing of the place"
        )


def permuted_by_cluster(
    scores: Shaped[np.ndarray, "n c"],
    labels: Float[np.ndarray, "n c"],
    clusters: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Permuted:
    """One-sided p value of the area under the ROC curve of concept j for label j, and the 95th percentile of its null.

    Args:
        scores: ``[n, c]``, finite; rows in the order of the text within a cluster.
        labels: ``[n, c]`` of 1, 0 and nan (unknown).
        clusters: ``[n]``; None makes every row its own.
        seed: Of the labels that are tried on each cluster, where there are too many to try all.

    Raises:
        DataError: The shapes do not fit.

    The statistic is the sum of centred midranks over the positives, which is the area times the number of pairs, less one half.
    Its tail is a saddlepoint approximation (`workbench.statistics.saddlepoint`), checked in the calibration against brute
    force; it is never below one over the number of arrangements where labels are constant within clusters.
    """
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise DataError(f"Scores {scores.shape} and labels {labels.shape} do not fit: pass [n, c] and [n, c].")
    ids, _ = cluster_ids(clusters, len(scores))
    counts = count_clusters(labels, clusters)
    p, mean, high, spread = (np.full(scores.shape[1], np.nan) for _ in range(4))
    distinct: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(counts.enough):
        distinct.setdefault(labels[:, column].tobytes(), []).append(int(column))
    rng = np.random.default_rng(seed)
    for columns in distinct.values():
        label = labels[:, columns[0]]
        known = ~np.isnan(label)
        deal = _Deal.of(label[known] == 1, ids[known], rng)
        step = max(1, _CELLS // deal.size)
        for begin in range(0, len(columns), step):
            some = columns[begin : begin + step]
            p[some], mean[some], high[some], spread[some] = deal.test(np.ascontiguousarray(scores[known][:, some].T))
    return Permuted(p, mean, high, spread, counts)


@dataclass(frozen=True)
class _Deal:
    """Which labels each cluster may get. The kinds: none is positive, all are, and the mixed labels of another cluster.

    Attributes:
        label: ``[n]``, of the rows in the order of their clusters.
        order: ``[n]``: that order.
        starts: ``[G]``: where each cluster begins in it.
        others: ``[G]`` indices of rows by cluster ``[J, m]``: whose labels its rows get, by mixed kind.
        weight: ``[G, J + 2]``.
        scale: ``[G]``: the square root of H / (H - 1) of the H clusters whose labels a cluster may get. Labels are dealt
            independently here, so their shares of positives vary by that much less than where they are permuted.
        constant: Whether labels are constant within clusters, so that their arrangements can be counted.
    """

    label: np.ndarray
    order: Int[np.ndarray, " n"]
    starts: Int[np.ndarray, " G"]
    others: list[Int[np.ndarray, "J m"]]
    weight: Float[np.ndarray, "G k"]
    scale: Float[np.ndarray, " G"]
    constant: bool

    @classmethod
    def of(cls, label: np.ndarray, ids: Int[np.ndarray, " n"], rng: np.random.Generator) -> _Deal:
        order = np.argsort(ids, kind="stable")
        label, ids = label[order], ids[order]
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        lengths = np.diff(np.append(starts, len(ids)))
        share = np.add.reduceat(label.astype(float), starts) / lengths
        if ((share == 0) | (share == 1)).all():
            weight = np.tile([1 - share.mean(), share.mean()], (len(starts), 1))
            none = [np.empty((0, 0), dtype=np.int64)] * len(starts)
            # The number of positive clusters is kept, which is drawing without replacement.
            return cls(label, order, starts, none, weight, np.ones(len(starts)), True)
        most = max(16, _KINDS // len(starts))
        others, weights, scale = [], [], []
        for length in lengths:
            several = givers(lengths, length)
            mixed = several[(share[several] > 0) & (share[several] < 1)]
            chosen = mixed if len(mixed) <= most else rng.choice(mixed, most, replace=False)
            others.append(starts[chosen][:, None] + np.arange(length) % lengths[chosen][:, None])
            weight = np.zeros(2 + min(most, len(starts)))
            weight[:2] = (share[several] == 0).mean(), (share[several] == 1).mean()
            weight[2 : 2 + len(chosen)] = len(mixed) / len(several) / max(len(chosen), 1)
            weights.append(weight)
            scale.append(np.sqrt(len(several) / (len(several) - 1)))
        stacked = np.stack(weights)
        return cls(label, order, starts, others, stacked[:, : 2 + max(map(len, others))], np.array(scale), False)

    @property
    def size(self) -> int:
        """Numbers that one column needs."""
        return max(self.weight.size, len(self.label))

    def test(self, scores: Shaped[np.ndarray, "c n"]) -> tuple[np.ndarray, ...]:
        """The p values, means, 95th percentiles and standard deviations of some columns."""
        n, positives = len(self.label), int(self.label.sum())
        ranks = midranks_by_column(scores)[:, self.order] - (n + 1) / 2
        observed = ranks @ self.label.astype(float)
        sums = self._sums(ranks)
        mean, spread, skew = sums.cumulants()
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, (observed - mean) / spread, -np.inf)
        p = np.where(spread > 0, norm.sf(z), 1.0)
        # Far below the middle nobody looks at a p value twice.
        near = np.flatnonzero(z > 0)
        if len(near):
            p[near] = upper_tail(Sums(sums.parts[near], sums.share, sums.weight), observed[near])
        if self.constant:
            by_cluster = np.add.reduceat(ranks, self.starts, axis=1)
            first = self.label[self.starts]
            for column in near:
                counted = counted_tail(by_cluster[column], first)
                p[column] = p[column] if counted is None else counted
            p = np.maximum(p, 1 / comb(len(first), int(first.sum())))
        quantile, pairs = norm.ppf(0.95), positives * (n - positives)
        # Cornish and Fisher's expansion to the third cumulant.
        bent = mean + spread * (quantile + (quantile**2 - 1) * skew / 6)
        # Once more by the tail there, which knows the other cumulants, and again where that moved it much.
        far = np.flatnonzero(spread > 0)
        for _ in range(2):
            there = np.clip(upper_tail(Sums(sums.parts[far], sums.share, sums.weight), bent[far]), 1e-6, 0.5)
            move = quantile - norm.isf(there)
            bent[far] += spread[far] * move
            far = far[np.abs(move) > _NEAR]
        return p, 0.5 + mean / pairs, 0.5 + bent / pairs, spread / pairs

    def _sums(self, ranks: Float[np.ndarray, "c n"]) -> Sums:
        parts = np.zeros((len(ranks), *self.weight.shape))
        share = np.zeros(self.weight.shape)
        parts[:, :, 1], share[:, 1] = np.add.reduceat(ranks, self.starts, axis=1), 1.0
        for g, (begin, other) in enumerate(zip(self.starts, self.others, strict=True)):
            if len(other):
                dealt = self.label[other].astype(float)
                parts[:, g, 2 : 2 + len(dealt)] = ranks[:, begin : begin + dealt.shape[1]] @ dealt.T
                share[g, 2 : 2 + len(dealt)] = dealt.mean(1)
        more = (share - (share * self.weight).sum(1, keepdims=True)) * (self.scale - 1)[:, None]
        parts += parts[:, :, [1]] * more
        return Sums(parts, share, self.weight)


def counted_tail(scores: Float[np.ndarray, " G"], positive: np.ndarray) -> float | None:
    """Exact probability that as many of the scores, drawn without replacement, sum to at least what the positive ones do.

    Scores that differ from the commonest are rounded to a grid, the same for the sum observed, and their sums are counted: the
    test is exact, of a statistic that differs by the rounding. None where more than `_COUNTED` of them differ from the commonest.

    Source: the counting of Wilcoxon's distribution, as in Streitberg and Roehmel (1986).
    """
    values, counts = np.unique(np.round(scores, 9), return_counts=True)
    common = values[counts.argmax()]
    differ = np.abs(scores - common) > 1e-9
    m, k = int(differ.sum()), int(positive.sum())
    if m > _COUNTED:
        return None
    beyond = scores[differ] - common
    cell = np.abs(beyond).max(initial=0) / _GRID
    if cell == 0:
        return 1.0
    steps = np.rint(beyond / cell).astype(np.int64)
    low, high = int(steps[steps < 0].sum()), int(steps[steps > 0].sum())
    # ways[j, s]: in how many ways j of the scores sum to s + low.
    ways = np.zeros((min(m, k) + 1, high - low + 1))
    ways[0, -low] = 1
    for step in steps:
        shifted = np.zeros_like(ways[1:])
        if step >= 0:
            shifted[:, step:] = ways[:-1, : ways.shape[1] - step]
        else:
            shifted[:, :step] = ways[:-1, -step:]
        ways[1:] += shifted
    observed = int(steps[positive[differ]].sum()) - low
    taken = np.arange(len(ways))
    chance = hypergeom.pmf(taken, len(scores), m, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = ways[:, observed:].sum(1) / ways.sum(1)
    return float(min(1.0, (chance * np.nan_to_num(tail)).sum()))
