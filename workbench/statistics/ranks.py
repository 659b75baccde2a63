"""Midranks and groups of ties, for many columns at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_array
from scipy.stats import rankdata


def midranks(scores: Shaped[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Rank every column from 1 to n; tied rows share the mean of their ranks.

    Columns where most rows hold the smallest value, as sparse latents do, are ranked by their other rows
    alone.
    """
    by_column = np.ascontiguousarray(np.asarray(scores).T)
    return midranks_by_column(by_column).T


def rank_sums(scores: Shaped[np.ndarray, "n c"], weights: Float[np.ndarray, "n l"]) -> Float[np.ndarray, "c l"]:
    """Sums of every column's midranks, weighted by every column of ``weights``: ``midranks(scores).T @ weights``.

    Of a column where most rows hold the smallest value only the other rows are sorted and multiplied.
    """
    n, c = scores.shape
    if scores.size == 0:
        return np.zeros((c, weights.shape[1]))
    above = scores != scores.min(axis=0)
    if np.count_nonzero(above) < above.size / 2:
        rows, columns = np.divmod(np.flatnonzero(above), c)
        if (np.bincount(columns, minlength=c) < n / 2).all():
            return _sparse_rank_sums(scores[rows, columns], rows, columns, weights, c)
    sparse = np.count_nonzero(above, axis=0) < n / 2
    sums = np.empty((c, weights.shape[1]))
    dense = np.flatnonzero(~sparse)
    sums[dense] = midranks_by_column(np.ascontiguousarray(scores[:, dense].T)) @ weights
    if sparse.any():
        sums[sparse] = rank_sums(scores[:, sparse], weights)
    return sums


def _sparse_rank_sums(
    values: Shaped[np.ndarray, " k"],
    rows: Int[np.ndarray, " k"],
    columns: Int[np.ndarray, " k"],
    weights: Float[np.ndarray, "n l"],
    c: int,
) -> Float[np.ndarray, "c l"]:
    """Of c columns whose other rows hold their smallest value; the values come row by row."""
    n = len(weights)
    # By column: a counting sort, as sparse matrices are turned.
    by_row = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    found = csr_array((values, columns, by_row), shape=(n, c)).tocsc()
    starts, counts = found.indptr[:-1], np.diff(found.indptr)
    order = np.concatenate(
        [np.empty(0, dtype=np.int64), *(part.argsort() + begin for part, begin in _parts(found.data, found.indptr))]
    )
    ordered, column = found.data[order], np.repeat(np.arange(c), counts)
    new = np.flatnonzero((ordered[1:] != ordered[:-1]) | (column[1:] != column[:-1])) + 1
    first, last = np.concatenate([[0], new]), np.append(new, len(order))
    # Ranks beyond that of the rows at the smallest value, which all share theirs.
    shared = (n - counts + 1) / 2
    rank = np.repeat((first + last + 1) / 2, last - first)[: len(order)] + (n - counts - starts - shared)[column]
    ranks = csr_array((rank, found.indices[order], found.indptr), shape=(c, n))
    sums: Float[np.ndarray, "c l"] = ranks @ weights + shared[:, None] * weights.sum(axis=0)
    return sums


def _parts(values: np.ndarray, bounds: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    for begin, end in pairwise(bounds):
        if end > begin:
            yield values[begin:end], int(begin)


def midranks_by_column(scores: Shaped[np.ndarray, "c n"]) -> Float[np.ndarray, "c n"]:
    """Rank every row of ``[c, n]``: :func:`midranks` for scores that are already transposed."""
    ranks = np.empty(scores.shape)
    if scores.size == 0:
        return ranks
    lowest = scores.min(axis=1)
    at_lowest = (scores == lowest[:, None]).sum(axis=1)
    sparse = at_lowest > scores.shape[1] / 2
    for number in np.flatnonzero(sparse):
        ranks[number] = (at_lowest[number] + 1) / 2
        others = np.flatnonzero(scores[number] != lowest[number])
        if others.size:
            ranks[number, others] = rankdata(scores[number, others]) + at_lowest[number]
    places = np.arange(1.0, scores.shape[1] + 1)
    for number in np.flatnonzero(~sparse):
        order = np.argsort(scores[number])
        ordered = scores[number][order]
        new = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        if len(new) == len(order) - 1:
            ranks[number, order] = places
            continue
        first, last = np.concatenate([[0], new]), np.append(new, len(order))
        ranks[number, order] = np.repeat((first + last + 1) / 2, last - first)
    return ranks


def tie_groups(
    scores: Shaped[np.ndarray, "c n"],
) -> tuple[Int[np.ndarray, "c n"], Int[np.ndarray, "c n"], Int[np.ndarray, "c n"]]:
    """Sort each row; return the order and, per sorted place, the first and last place of its ties."""
    order = np.argsort(scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    n = scores.shape[1]
    places = np.arange(n)
    starts = np.ones(scores.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(scores.shape, dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, n)[:, ::-1], axis=1)[:, ::-1]
    return order, first, last
