"""Rows of very large norm, and what the unexplained variance is without them.

A few rows can hold nearly all of the variance (massive activations; Sun et al. 2024, arXiv:2402.17762). A share of variance is
then about these rows alone, whatever the dictionary does on all others.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

TIMES_MEDIAN = 3.0
# The two shares disagree where one is more than twice the other and they lie further apart than this.
FACTOR, LEAST_DIFFERENCE = 2.0, 0.05


def of_large_norm(rows: Float[Tensor, "n d"]) -> Bool[Tensor, n]:
    """The rows whose norm is more than three times the median norm."""
    norms = rows.norm(dim=-1)
    return norms > TIMES_MEDIAN * norms.median()


def ordinary_mean(rows: Float[Tensor, "n d"]) -> Float[Tensor, d]:
    """The mean of the rows that are not of large norm."""
    return rows[~of_large_norm(rows)].mean(0)


@dataclass(frozen=True)
class Unexplained:
    """The share of the variance that a reconstruction leaves, over all rows and over those not of large norm.

    Attributes:
        all_rows: Over all rows.
        ordinary: Without those of large norm.
        large: How many rows are of large norm.
        rows: How many rows there are.
        held: The share of the variance that the rows of large norm hold.
    """

    all_rows: float
    ordinary: float
    large: int
    rows: int
    held: float

    @property
    def note(self) -> str:
        """A warning where the two shares disagree strongly, and an empty text otherwise."""
        low, high = sorted((self.all_rows, self.ordinary))
        if not self.large or high <= FACTOR * low or high - low <= LEAST_DIFFERENCE:
            return ""
        return (
            f"{self.large:,} of {self.rows:,} rows have a norm above {TIMES_MEDIAN:g} times the median and hold {self.held:.1%}"
            f" of the variance: with them the unexplained variance is {self.all_rows:.3g}, without them {self.ordinary:.3g}."
            " Go by the number without them for ordinary rows."
        )
