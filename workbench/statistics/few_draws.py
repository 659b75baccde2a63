"""A p value from a few draws of a null: a rank while draws lie beyond the value, a tail of Student's t where none does."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from workbench.statistics.nulls import t_tail_p


def few_draws_p(value: Float[np.ndarray, "*c"] | float, null: Float[np.ndarray, "r *c"]) -> np.ndarray:
    """Two-sided p value of a value among r draws of its null that are near to normal.

    Distances are from the mean of value and draws together, which treats all of them alike. Where a draw lies at least as far out
    as the value, p is at least its rank ``(1 + b) / (1 + r)``; where none does, p is that of `nulls.t_tail_p`.

    So the test keeps its level exactly at any level of ``1 / (1 + r)`` and above, whatever the draws' distribution: to reject
    there the rank must. Below that level it rests on the tail being near to that of a normal distribution, and can be small
    enough for a correction over many tests.

    Args:
        value: ``[*c]``.
        null: ``[r, *c]``, exchangeable with the value if there is nothing to find.

    Source: Phipson and Smyth (2010) for the rank; the prediction interval of a normal sample for the tail.
    """
    null, value = np.asarray(null, dtype=np.float64), np.asarray(value, dtype=np.float64)
    r = len(null)
    centre = (null.sum(axis=0) + value) / (r + 1)
    # Equal draws are equal up to rounding.
    beyond = (np.abs(null - centre) >= np.abs(value - centre) * (1 - 1e-9)).sum(axis=0)
    tail = t_tail_p(value, null)
    return np.where(beyond > 0, np.fmax(tail, (1 + beyond) / (1 + r)), tail)
