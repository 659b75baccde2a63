"""Midranks and groups of ties, for many columns at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import rankdata


def midranks(scores: Shaped[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Rank every column from 1 to n; tied rows share the mean of their ranks.

    Columns where most rows hold the smallest value, as sparse latents do, are ranked by their other rows
    alone.
    """
    by_column = np.ascontiguousarray(np.asarray(scores).T)
    return midranks_by_column(by_column).T


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
    dense = np.flatnonzero(~sparse)
    if dense.size:
        order, first, last = tie_groups(scores[dense])
        placed = np.empty(order.shape)
        np.put_along_axis(placed, order, (first + last) / 2 + 1, axis=1)
        ranks[dense] = placed
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
