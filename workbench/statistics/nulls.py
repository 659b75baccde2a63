"""p values of a value among draws of its null: by rank, and by a tail fitted to the draws where a rank cannot be small enough."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from workbench.errors import ConfigError

LEAST_FOR_PARETO = 199


def rank_p(value: float, null: Float[np.ndarray, " r"]) -> float:
    """Share of the null at least as large as the value, the value itself counted in: ``(1 + b) / (1 + r)``.

    Valid at any level where the value and the draws are exchangeable if there is nothing to find; never below ``1 / (1 + r)``.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero".
    """
    null = np.asarray(null)
    return float((1 + (null >= value).sum()) / (1 + len(null)))


def upper(null: Float[np.ndarray, "r *c"], level: float = 0.95) -> np.ndarray:
    """The order statistic of r draws that one more draw exceeds with a probability of at most ``1 - level``.

    The plain 95% quantile of ten draws is exceeded by 12% of further draws; this is the draw of rank ``ceil(level (r + 1))``.

    Raises:
        ConfigError: There are too few draws: 19 are the least at .95.
    """
    null = np.asarray(null)
    rank = int(np.ceil(level * (len(null) + 1) - 1e-9))
    if rank > len(null):
        raise ConfigError(
            f"{len(null)} draws have no {level:.0%} level: {int(np.ceil(level / (1 - level) - 1e-9))} are the least."
        )
    return np.sort(null, axis=0)[rank - 1]


def pareto_tail_p(value: Float[np.ndarray, "*c"] | float, null: Float[np.ndarray, "r *c"]) -> np.ndarray:
    """One-sided p of a value beyond many draws of a null whose tail may be heavy: a Pareto distribution fitted to its tenth.

    The excesses of the largest tenth of the draws over the next largest one are fitted by probability-weighted
    moments. A tail that ends, as a normal one nearly does, is taken as an exponential one, which is heavier.

    Args:
        value: ``[*c]``.
        null: ``[r, *c]``.

    Returns:
        ``[*c]``; nan where the draws are fewer than 199, too few for the shape of a tail, where its draws are all alike, and
        where the value is not beyond its beginning.

    Source: Knijnenburg, Wessels, Reinders and Shmulevich (2009), "Fewer permutations, more accurate P-values"; Hosking and Wallis
    (1987) for the moments.
    """
    null, value = np.sort(np.asarray(null, dtype=np.float64), axis=0), np.asarray(value, dtype=np.float64)
    r = len(null)
    if r < LEAST_FOR_PARETO:
        return np.full(null.shape[1:], np.nan)
    k = r // 10
    begin = null[r - k - 1]
    excess = null[r - k :] - begin
    mean, beyond = excess.mean(axis=0), value - begin
    weighted = np.tensordot((k - 1 - np.arange(k)) / (k - 1), excess, axes=(0, 0)) / k
    with np.errstate(divide="ignore", invalid="ignore"):
        heavy = np.maximum(2 - mean / (mean - 2 * weighted), 0.0)
        scale = np.where(heavy > 0, 2 * mean * weighted / (mean - 2 * weighted), mean)
        tail = np.where(heavy > 0, (1 + heavy * beyond / scale) ** (-1 / heavy), np.exp(-beyond / scale))
    return np.where((mean > 0) & (beyond > 0), np.minimum(k / r * tail, 1.0), np.nan)


def t_tail_p(
    value: Float[np.ndarray, "*c"] | float, null: Float[np.ndarray, "r *c"], two_sided: bool = True, degrees: float | None = None
) -> np.ndarray:
    """p of a value held against a few draws of a null that is near to normal, as a prediction: Student's t with r - 1 degrees.

    Fewer ``degrees`` of freedom are for draws whose own tails are heavier.

    ``(value - mean) / (deviation sqrt(1 + 1 / r))`` has that distribution where value and draws are independent and normal with
    the same mean and deviation. It can be far below ``1 / (1 + r)``, so that a correction over many tests is possible;
    whether the draws are near to normal is for the caller to know. NaN where the draws are all the same.

    Source: the prediction interval of a normal sample, as in Crawford and Howell (1998).
    """
    null = np.asarray(null, dtype=np.float64)
    r = len(null)
    degrees = r - 1 if degrees is None else degrees
    std = null.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (value - null.mean(axis=0)) / np.where(std > 0, std * np.sqrt(1 + 1 / r), np.nan)
    tail = student.sf(np.abs(z) if two_sided else z, degrees)
    return np.minimum(np.asarray(tail * (2 if two_sided else 1)), 1.0)
