"""Detection scores of many concepts at once, with their uncertainty and their null.

Scores are float ``[n, c]`` (rows by concepts) and labels ``[n, l]`` hold 1, 0 or nan; nan says that the row
is unknown for that label and leaves it out there. Larger scores should mean 1. A label with no known
positive or no known negative has no score: its values are nan. Everything is computed column block by
column block, so memory stays near a few copies of ``[n, 64]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit, logit

from workbench.errors import DataError
from workbench.statistics.clusters import ENOUGH, Counts, cluster_ids, count_clusters, effective_clusters
from workbench.statistics.intervals import LEVEL, Interval, reach
from workbench.statistics.ranks import rank_sums, tie_groups

_BLOCK_CELLS = 1 << 22
"""Cells of scores ranked at once: 32 MiB of float64."""


def auroc_matrix(scores: Shaped[np.ndarray, "n c"], labels: Shaped[np.ndarray, "n l"]) -> Float[np.ndarray, "c l"]:
    """Area under the ROC curve of every concept for every label (the Mann-Whitney statistic with midranks).

    Args:
        scores: ``[n, c]``, finite.
        labels: ``[n, l]`` of 1, 0 and nan.

    Returns:
        ``[c, l]`` in [0, 1]; .5 is chance; nan for a label with one class only.

    Raises:
        DataError: for shapes that do not fit, scores that are not finite, or labels other than 1, 0, nan.

    Source: Mann and Whitney (1947); Hanley and McNeil (1982).
    """
    scores, labels = _checked(scores, labels)
    areas = np.full((scores.shape[1], labels.shape[1]), np.nan)
    for rows, columns in _mask_groups(labels):
        known = labels[np.ix_(rows, columns)]
        positives = known.sum(axis=0)
        for block in _column_blocks(len(rows), scores.shape[1]):
            picked = scores[:, block] if len(rows) == len(scores) else scores[rows, block]
            areas[block, columns] = _areas(rank_sums(picked, known), positives, len(rows))
    return areas


def average_precision(scores: Shaped[np.ndarray, "n c"], labels: Shaped[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """Average precision of concept j for label j: precision averaged over the recall gained.

    Args:
        scores: ``[n, c]``, finite.
        labels: ``[n, c]`` of 1, 0 and nan; its chance level is the share of 1 among the known rows.

    Returns:
        ``[c]`` in (0, 1]; nan where no row is positive.

    Raises:
        DataError: as :func:`auroc_matrix`, and when the two have different numbers of columns.

    Source: the definition of ``sklearn.metrics.average_precision_score`` (no interpolation; ties are one
    threshold).
    """
    scores, labels = _checked(scores, labels, paired=True)
    values = np.empty(scores.shape[1])
    for block in _column_blocks(len(scores), scores.shape[1]):
        order, _, last = tie_groups(-_by_column(scores, block))
        label = np.take_along_axis(_by_column(labels, block), order, axis=1)
        hit = label == 1
        found = np.take_along_axis(np.cumsum(hit, axis=1), last, axis=1)
        seen = np.take_along_axis(np.cumsum(~np.isnan(label), axis=1), last, axis=1)
        precision = np.divide(found, seen, out=np.zeros(found.shape), where=seen > 0)
        with np.errstate(invalid="ignore"):
            values[block] = (precision * hit).sum(axis=1) / hit.sum(axis=1)
    return values


@dataclass(frozen=True)
class Area:
    """Areas under ROC curves, one a column, with what their uncertainty rests on; each ``[c]``.

    Attributes:
        value: nan where a label has one class only.
        error: Standard error over clusters; nan where fewer than two clusters hold a positive, or a negative; 0 where the classes
            are separated perfectly.
        df: Degrees of freedom of that error (Satterthwaite's, of its positive and its negative part).
        counts: Clusters with a positive, with a negative, and with either, and effective ones.
        mostly_tied: Whether more than half of the rows have one and the same score.
    """

    value: Float[np.ndarray, " c"]
    error: Float[np.ndarray, " c"]
    df: Float[np.ndarray, " c"]
    counts: Counts
    mostly_tied: Bool[np.ndarray, " c"]

    def interval(self, level: float = LEVEL, null_error: Float[np.ndarray, " c"] | None = None, least: int = ENOUGH) -> Interval:
        """On the logit scale, so that it stays inside 0 to 1; nan where a class is in fewer clusters than ``least``, where it
        has too few effective ones, and where all scores are the same.

        Where the value is 0 or 1 its standard error is 0 and says nothing. There the far end is the area at which as many
        independent pairs as there are clusters of the rarer class would all agree with probability (1 - level) / 2: .69 for 10.

        Args:
            level: Coverage.
            null_error: ``[c]``, the deviation of the area under permuted labels (`permutation.Permuted.spread`), for scores that
                are mostly tied, as those of a sparse latent: where hardly a positive cluster has the latent, the error of the
                value cannot be seen in the sample, and is taken as at least that of the null, scaled as errors shrink
                towards 0 and 1.
            least: Clusters of each class. Fewer than `clusters.ENOUGH` are for a choice that nobody is shown, where a wide
                interval is better than none, whatever the effective clusters.

        Raises:
            ConfigError: for a level outside (0, 1).

        Source: Pepe (2003) for the logit scale; Clopper and Pearson (1934) for the boundary.
        """
        value = np.asarray(self.value, dtype=float)
        inside = (value > 0) & (value < 1)
        safe = np.where(inside, value, 0.5)
        error = self.error
        if null_error is not None:
            at_least = np.where(self.mostly_tied, 4 * safe * (1 - safe) * np.nan_to_num(null_error), 0.0)
            error = np.maximum(error, at_least)
        half = reach(self.df, level) * error / (safe * (1 - safe))
        low, high = expit(logit(safe) - half), expit(logit(safe) + half)
        pairs = np.minimum(self.counts.positive, self.counts.negative)
        far = ((1 - level) / 2) ** (1 / np.maximum(pairs, 1))
        low = np.where(inside, low, np.where(value == 1, far, value))
        high = np.where(inside, high, np.where(value == 0, 1 - far, value))
        # Scores that are all the same are no measurement of one half.
        varies = ~inside | (error > 0)
        many = pairs >= least if least < ENOUGH else self.counts.enough
        known = many & np.isfinite(value) & np.isfinite(self.df) & varies
        return Interval(np.where(known, low, np.nan), np.where(known, high, np.nan))


def clustered_auroc(
    scores: Shaped[np.ndarray, "n c"],
    labels: Shaped[np.ndarray, "n c"],
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Area:
    """Area under the ROC curve of concept j for label j, with its standard error over clusters.

    Rows of one cluster (of a document, or of copies) are not independent. Without clusters the error is DeLong's, of which the
    clustered one is the generalisation.

    Args:
        scores: ``[n, c]``, finite.
        labels: ``[n, c]`` of 1, 0 and nan.
        clusters: ``[n]``, any hashable type that sorts; None makes every row its own.

    Raises:
        DataError: as :func:`average_precision`, and for clusters of another length.

    Source: DeLong, DeLong and Clarke-Pearson (1988); Obuchowski (1997), "Nonparametric analysis of clustered ROC curve data";
    Satterthwaite (1946) for the degrees of freedom.
    """
    scores, labels = _checked(scores, labels, paired=True)
    ids, n_clusters = cluster_ids(clusters, len(scores))
    value, error, df = (np.empty(scores.shape[1]) for _ in range(3))
    tied = np.empty(scores.shape[1], dtype=bool)
    counts = count_clusters(labels, clusters)
    for block in _column_blocks(len(scores), scores.shape[1]):
        held = Counts(*(part[block] for part in counts))
        value[block], error[block], df[block] = _clustered_area(
            columns := _by_column(scores, block), _by_column(labels, block), ids, n_clusters, held
        )
        tied[block] = (columns == np.median(columns, axis=1, keepdims=True)).mean(axis=1) > 0.5
    return Area(value, error, df, counts, tied)


def _areas(rank_sums: Float[np.ndarray, "*c l"], positives: Float[np.ndarray, " l"], n: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (rank_sums - positives * (positives + 1) / 2) / (positives * (n - positives))


def _clustered_area(
    scores: Shaped[np.ndarray, "c n"],
    labels: Float[np.ndarray, "c n"],
    ids: Int[np.ndarray, " n"],
    n_clusters: int,
    counts: Counts,
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    positive, negative = labels == 1, labels == 0
    n_pos, n_neg = positive.sum(axis=1), negative.sum(axis=1)
    order, first, last = tie_groups(scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The placements: how many of the other class lie below (of a positive) or above (of a negative),
        # ties counting half.
        below = _count_below(negative, order, first, last) / n_neg[:, None]
        above = 1 - _count_below(positive, order, first, last) / n_pos[:, None]
        area = np.where(n_pos > 0, np.where(positive, below, 0).sum(axis=1) / n_pos, np.nan)
        centred_pos = _sum_by_cluster(np.where(positive, below - area[:, None], 0), ids, n_clusters)
        centred_neg = _sum_by_cluster(np.where(negative, above - area[:, None], 0), ids, n_clusters)
        k_pos, k_neg, k_any = (
            effective_clusters(_sum_by_cluster(held.astype(float), ids, n_clusters))
            for held in (positive, negative, positive | negative)
        )
        own_pos = k_pos / (k_pos - 1) * (centred_pos**2).sum(axis=1) / n_pos**2
        own_neg = k_neg / (k_neg - 1) * (centred_neg**2).sum(axis=1) / n_neg**2
        cross = k_any / (k_any - 1) * (centred_pos * centred_neg).sum(axis=1) / (n_pos * n_neg)
        error = np.sqrt(np.maximum(own_pos + own_neg + 2 * cross, 0))
        df = (own_pos + own_neg) ** 2 / (own_pos**2 / (k_pos - 1) + own_neg**2 / (k_neg - 1))
    # k / (k - 1) is infinite at one cluster, and infinity times 0 is already nan.
    known = (counts.positive > 1) & (counts.negative > 1)
    df = np.where(np.isfinite(df), df, np.minimum(k_pos, k_neg) - 1.0)
    return area, np.where(known, error, np.nan), np.where(known, df, np.nan)


def _count_below(
    members: Bool[np.ndarray, "c n"],
    order: Int[np.ndarray, "c n"],
    first: Int[np.ndarray, "c n"],
    last: Int[np.ndarray, "c n"],
) -> Float[np.ndarray, "c n"]:
    """Per row, the members with a smaller score plus half of those with the same."""
    sorted_members = np.take_along_axis(members, order, axis=1)
    upto = np.cumsum(sorted_members, axis=1)
    through = np.take_along_axis(upto, last, axis=1)
    before = np.take_along_axis(upto, first, axis=1) - np.take_along_axis(sorted_members, first, axis=1)
    counts = np.empty(members.shape)
    np.put_along_axis(counts, order, (through + before) / 2, axis=1)
    return counts


def _sum_by_cluster(values: Float[np.ndarray, "c n"], ids: Int[np.ndarray, " n"], n_clusters: int) -> Float[np.ndarray, "c k"]:
    return np.stack([np.bincount(ids, weights=row, minlength=n_clusters) for row in values])


def _mask_groups(
    labels: Float[np.ndarray, "n l"],
) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]]:
    """Yield (rows, label columns) for labels that know the same rows; a label that knows none is left out."""
    known = ~np.isnan(labels)
    groups: dict[bytes, list[int]] = {}
    for column in range(labels.shape[1]):
        groups.setdefault(np.packbits(known[:, column]).tobytes(), []).append(column)
    for columns in groups.values():
        rows = np.flatnonzero(known[:, columns[0]])
        if rows.size:
            yield rows, np.array(columns)


def _column_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK_CELLS // max(n_rows, 1))
    for start in range(0, n_columns, step):
        yield slice(start, min(start + step, n_columns))


def _by_column(values: np.ndarray, block: slice) -> np.ndarray:
    return np.ascontiguousarray(values[:, block].T)


def _checked_labels(labels: Shaped[np.ndarray, "n l"]) -> Float[np.ndarray, "n l"]:
    labels = np.asarray(labels, dtype=np.float64)
    if labels.ndim != 2:
        raise DataError(f"Labels have the shape {labels.shape}: pass [rows, labels], for one label labels[:, None].")
    if not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
        raise DataError("Labels hold values other than 1, 0 and nan: code each label as 1, 0 or nan (unknown).")
    return labels


def _checked(
    scores: Shaped[np.ndarray, "n c"], labels: Shaped[np.ndarray, "n l"], paired: bool = False
) -> tuple[Shaped[np.ndarray, "n c"], Float[np.ndarray, "n l"]]:
    scores, labels = np.asarray(scores), _checked_labels(labels)
    if scores.ndim != 2 or len(scores) != len(labels) or (paired and scores.shape != labels.shape):
        wanted = "[n, c] and [n, c]" if paired else "[n, c] and [n, l]"
        raise DataError(f"Scores {scores.shape} and labels {labels.shape} do not fit: pass {wanted}.")
    if scores.dtype.kind in "bui":
        scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise DataError("Scores hold nan or infinity: leave those rows out, or label them nan and score them 0.")
    return scores, labels
