"""Clusters of rows that are not independent of each other: the rows of a document, of an example, or of copies of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from workbench.errors import DataError
from workbench.numbers import counted

if TYPE_CHECKING:
    from workbench.datasets import Dataset

ENOUGH = 8
"""Positive and negative clusters below which a score has neither an interval nor a p value."""
EFFECTIVE = 4.0
"""The same for effective clusters: a document that holds most of a label decides alone, however many others hold a row of it."""


class Counts(NamedTuple):
    """How many clusters hold a row of each class, by label; each ``[c]``.

    Attributes:
        positive: Clusters with a positive row.
        negative: Clusters with a negative row.
        every: Clusters with either.
        effective: Effective clusters (`effective_clusters`) by rows of a class, of the class with fewer of them.
    """

    positive: Int[np.ndarray, " c"]
    negative: Int[np.ndarray, " c"]
    every: Int[np.ndarray, " c"]
    effective: Float[np.ndarray, " c"]

    @property
    def enough(self) -> np.ndarray:
        """``[c]``: whether both classes are in at least `ENOUGH` clusters, and in at least `EFFECTIVE` effective ones."""
        return (np.minimum(self.positive, self.negative) >= ENOUGH) & (self.effective >= EFFECTIVE)

    def fewer(self, number: int) -> int:
        """The fewer of a label's clusters with a positive and those with a negative."""
        return int(min(self.positive[number], self.negative[number]))

    def reason(self, number: int) -> str:
        """Why the label of a number has no interval and no p value; empty where it has."""
        if self.enough[number]:
            return ""
        least = self.fewer(number)
        if least >= ENOUGH:
            return (
                "no interval and no p value: a few clusters hold most rows of a class, which are worth"
                f" {self.effective[number]:.1f} clusters of one size, fewer than {EFFECTIVE:.0f}"
            )
        which = "positive" if self.positive[number] <= self.negative[number] else "negative"
        return f"no interval and no p value: {counted(least, f'{which} cluster')}, fewer than {ENOUGH}"


def cluster_ids(clusters: Shaped[np.ndarray, " n"] | None, n_rows: int) -> tuple[Int[np.ndarray, " n"], int]:
    """Number the clusters from 0; without clusters every row is its own.

    Raises:
        DataError: There is not one cluster a row.
    """
    if clusters is None:
        return np.arange(n_rows), n_rows
    clusters = np.asarray(clusters)
    if clusters.shape != (n_rows,):
        raise DataError(f"There are {n_rows} rows and clusters of shape {clusters.shape}: give one cluster a row.")
    names, ids = np.unique(clusters, return_inverse=True)
    return ids, len(names)


def effective_clusters(sizes: Float[np.ndarray, "*c g"]) -> Float[np.ndarray, "*c"]:
    """How many clusters of one size would vary as much: fewer than there are where some are much larger.

    Source: Kish (1965), "Survey sampling".
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Float[np.ndarray, "*c"] = np.square(sizes.sum(axis=-1)) / np.square(sizes).sum(axis=-1)
    return found


def example_clusters(dataset: Dataset, examples: Sequence[int] | np.ndarray) -> Int[np.ndarray, " e"]:
    """The cluster of each example: its group, which joins the examples of a document and all copies of a content."""
    codes, _ = pd.factorize(dataset.table["group"].to_numpy()[np.asarray(examples, dtype=np.int64)])
    return codes.astype(np.int64)


def count_clusters(labels: Float[np.ndarray, "n c"], clusters: Shaped[np.ndarray, " n"] | None = None) -> Counts:
    """Count the clusters that hold a positive, a negative, and any known row of each label.

    Args:
        labels: ``[n, c]`` of 1, 0 and nan.
        clusters: ``[n]``; None makes every row its own.
    """
    ids, n_clusters = cluster_ids(clusters, len(labels))
    n_labels = labels.shape[1]
    positive, negative = (
        np.bincount(ids[rows] * n_labels + columns, minlength=n_clusters * n_labels).reshape(n_clusters, n_labels)
        for rows, columns in (np.nonzero(labels == wanted) for wanted in (1, 0))
    )
    effective = np.minimum(*(np.nan_to_num(effective_clusters(rows.T.astype(float))) for rows in (positive, negative)))
    has, lacks = positive > 0, negative > 0
    return Counts(has.sum(axis=0), lacks.sum(axis=0), (has | lacks).sum(axis=0), effective)
