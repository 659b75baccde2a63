"""Correction of p values for having tested many hypotheses: Holm's for verdicts, Benjamini and Hochberg's for lists to browse."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from workbench.errors import ConfigError

ALPHA = 0.05
"""The level of every verdict."""


def holm(p: Float[np.ndarray, " t"], tests: int | None = None) -> Float[np.ndarray, " t"]:
    """Adjusted p values: rejecting those up to alpha rejects any true null with a probability of at most alpha.

    Args:
        p: ``[t]`` raw p values; nan stays nan and is no test.
        tests: Tests of the family, where more could have been made than ``p`` has: looking again at some of them must not make
            them look surer than they were among all.

    Returns:
        ``[t]``, at least ``p`` and at most 1.

    Raises:
        ConfigError: A p value is outside of 0 to 1.

    Assumes nothing about how the tests depend on each other. Source: Holm (1979), "A simple sequentially rejective multiple test
    procedure".
    """
    p, known = _checked(p)
    order = np.argsort(p[known], kind="stable")
    family = max(len(order), tests or 0)
    raised = np.minimum(np.maximum.accumulate(p[known][order] * (family - np.arange(len(order)))), 1.0)
    adjusted = np.full(len(p), np.nan)
    adjusted[np.flatnonzero(known)[order]] = raised
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " t"], tests: int | None = None) -> Float[np.ndarray, " t"]:
    """Adjusted p values: among those up to alpha, a share of at most alpha is expected to be false (false discovery rate).

    Args and errors as :func:`holm`. Assumes tests that are independent or depend positively on each other.

    Source: Benjamini and Hochberg (1995), "Controlling the false discovery rate".
    """
    p, known = _checked(p)
    order = np.argsort(p[known], kind="stable")
    family = max(len(order), tests or 0)
    scaled = p[known][order] * family / np.arange(1, len(order) + 1)
    adjusted = np.full(len(p), np.nan)
    adjusted[np.flatnonzero(known)[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def least_p(tests: int, alpha: float = ALPHA) -> float:
    """The raw p value that Holm's correction over so many tests needs for one rejection."""
    return alpha / max(tests, 1)


def _checked(p: Float[np.ndarray, " t"]) -> tuple[np.ndarray, np.ndarray]:
    p = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(p)
    if p.ndim != 1 or ((p[known] < 0) | (p[known] > 1)).any():
        raise ConfigError("p values are numbers from 0 to 1 in one dimension; nan stands for a test that was not made.")
    return p, known
