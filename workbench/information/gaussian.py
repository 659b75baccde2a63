"""Information between jointly Gaussian features, in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import digamma

from workbench.errors import DataError
from workbench.information.estimate import Estimate, from_terms, joined, read_features, standardised


def gaussian_logdet(X: Any, Y: Any, *, clusters: Shaped[np.ndarray, " n"] | None = None) -> Estimate:
    """Information between two sets of jointly Gaussian features, in bits: -1/2 sum log(1 - r^2) over
    canonical correlations.

    The expectation of the same sum under a Gaussian sample (the bias) is taken off by the digamma formula.
    For other distributions it measures linear dependence only. Repeated or dependent features count once.

    Args:
        X: ``[n, d]``.
        Y: ``[n, e]``; n above rank(X) + rank(Y) + 1.
        clusters: ``[n]`` the document of each row, for the sampling error; the bias is that of independent rows.

    Raises:
        DataError: for unusable X or Y, too few rows, or a feature of Y that X determines (the information
            is then infinite).

    Source: Gelfand and Yaglom (1957); bias: Misra, Singh and Demchuk (2005), entropy of a multivariate
    normal.
    """
    first, note_first = standardised(read_features(X))
    second, note_second = standardised(read_features(Y, "Y"), "Y")
    n = len(first)
    if n != len(second):
        raise DataError(f"X has {n} rows and Y has {len(second)}: give pairs of rows.")
    note = joined(note_first, note_second)
    if first.shape[1] == 0 or second.shape[1] == 0:
        return Estimate(0.0, "point", n, 0.0, note=note)
    left, right = _orthonormal(first), _orthonormal(second)
    p, q = left.shape[1], right.shape[1]
    if n <= p + q + 1:
        raise DataError(f"{n} rows are too few for {p} + {q} features: compress first, or give more rows.")
    turn_left, correlations, turn_right = np.linalg.svd(left.T @ right, full_matrices=False)
    correlations = np.minimum(correlations, 1)
    if 1 - correlations[0] < 1e-12:
        raise DataError("X determines part of Y, so the information is infinite: add noise first.")
    bias = 0.5 * (_logdet_bias(p, n) + _logdet_bias(q, n) - _logdet_bias(p + q, n))
    # The logarithm of the density ratio at each row, in canonical coordinates of variance 1. Its mean is -1/2 sum log(1 - r^2),
    # and it is the influence of the row on that sum, of whatever distribution the rows are.
    u, v = np.sqrt(n) * left @ turn_left, np.sqrt(n) * right @ turn_right.T
    spread = correlations**2 * (u**2 + v**2) - 2 * correlations * u * v
    terms = -0.5 * (np.log1p(-(correlations**2)) + spread / (1 - correlations**2)).sum(axis=1)
    return from_terms(terms, "point", clusters=clusters, shift=-bias, note=note)


def _orthonormal(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
    basis, sizes, _ = np.linalg.svd(X, full_matrices=False)
    return basis[:, sizes > sizes[0] * 1e-10]


def _logdet_bias(p: int, n: int) -> float:
    """Bias of the log determinant of a sample covariance of p Gaussian features, less terms that cancel."""
    return float(digamma((n - np.arange(1, p + 1)) / 2).sum())
