"""A p value from a few draws of a null: a rank while draws lie beyond the value, a fitted tail where too few do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from workbench.statistics.nulls import t_tail_p


def rank_or_tail_p(beyond: Int[np.ndarray, "*c"], draws: int, tail: Float[np.ndarray, "*c"] | float, few: int = 1) -> np.ndarray:
    """``(1 + b) / (1 + r)``; where fewer than ``few`` draws are as large, the fitted tail, but ``few / (1 + r)`` at most.

    A rank keeps its level exactly, whatever the distribution of the draws, and so does this at any level of ``few / (1 + r)`` and
    above: to reject there, the rank must. Below that level it rests on the tail being near to that of the draws, and can be small
    enough for a correction over many tests.

    Args:
        beyond: How many draws are at least as large as the value, ``[*c]``.
        draws: Their number r, exchangeable with the value if there is nothing to find.
        tail: p of the tail, ``[*c]``; NaN where it could not be fitted, which leaves the rank.
        few: 1 where the tail is not sure enough to say more than a rank that can be small.

    Source: Phipson and Smyth (2010) for the rank.
    """
    beyond, tail = np.asarray(beyond), np.asarray(tail)
    rank = (1 + beyond) / (1 + draws)
    return np.where((beyond < few) & ~np.isnan(tail), np.minimum(tail, few / (1 + draws)), rank)


def few_draws_p(value: Float[np.ndarray, "*c"] | float, null: Float[np.ndarray, "r *c"]) -> np.ndarray:
    """Two-sided p value of a value among r draws of its null that are near to normal: :func:`rank_or_tail_p`.

    Distances are from the mean of value and draws together, which treats all of them alike; the tail is `nulls.t_tail_p`.

    Args:
        value: ``[*c]``.
        null: ``[r, *c]``, exchangeable with the value if there is nothing to find.

    Source: the prediction interval of a normal sample for the tail.
    """
    null, value = np.asarray(null, dtype=np.float64), np.asarray(value, dtype=np.float64)
    centre = (null.sum(axis=0) + value) / (len(null) + 1)
    # Equal draws are equal up to rounding.
    beyond = (np.abs(null - centre) >= np.abs(value - centre) * (1 - 1e-9)).sum(axis=0)
    return rank_or_tail_p(beyond, len(null), t_tail_p(value, null))
