"""A permutation p value that spends its draws where they matter: few on what is plainly no finding, many on what may be one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from workbench.errors import ConfigError

EXCEEDANCES = 20
"""Draws at least as large as the value after which no more are made: the p value is then known to a fifth of its size."""


def sequential_p(
    value: float,
    draw: Callable[[int], Float[np.ndarray, " r"]],
    least: int,
    most: int,
    exceedances: int = EXCEEDANCES,
) -> tuple[float, Float[np.ndarray, " r"]]:
    """p of a value by draws of its null, which end once ``exceedances`` of them are at least as large.

    It is ``h / l`` where the h-th such draw was the l-th, else ``(1 + b) / (1 + most)``: valid at any level where the value and
    the draws are exchangeable if there is nothing to find.

    Args:
        value: What was measured.
        draw: Makes so many further draws.
        least: Draws that are made in any case, because a level is taken from them.
        most: Draws after which it ends.
        exceedances: h.

    Returns:
        The p value, and all draws that were made.

    Raises:
        ConfigError: ``most`` is below ``least``, or there are to be no draws.

    Source: Besag and Clifford (1991), "Sequential Monte Carlo p-values".
    """
    if not 1 <= least <= most:
        raise ConfigError(f"At least {least} and at most {most} draws cannot be made: pass 99 and 999, for example.")
    draws = np.asarray(draw(least), dtype=np.float64)
    while (draws >= value).sum() < exceedances and len(draws) < most:
        draws = np.concatenate([draws, draw(min(len(draws), most - len(draws)))])
    hits = np.flatnonzero(draws >= value)
    if len(hits) >= exceedances:
        return float(exceedances / (hits[exceedances - 1] + 1)), draws
    return float((1 + len(hits)) / (1 + len(draws))), draws
