"""Estimators of mutual information: each takes arrays and answers an :class:`Estimate` in bits.

Which to use: a probe's held-out probabilities give :func:`classifier_bound` in any dimension;
:func:`mixed_ksg` and :func:`ksg` need ten dimensions or fewer (compress first); :func:`gaussian_logdet`
sees linear dependence alone; :func:`plugin_discrete` is for codes and bins.

Rows of one document are not independent: give ``clusters``. Only the classifier bound has an interval; the others have a sampling
error, and a bias that may be larger: :func:`with_moves` shows how they move with the sample and with the neighbours, and
:func:`with_null` what they read when there is nothing to find.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import digamma

from analyses.information.bias import with_moves
from analyses.information.discrete import apply_bins, equal_count_bins, plugin_discrete
from analyses.information.estimate import Estimate, from_terms, joined, read_features, standardised
from analyses.information.knn import ksg
from analyses.information.mixed import mixed_ksg
from analyses.information.null import held, with_null
from workbench.errors import DataError

__all__ = [
    "Estimate",
    "apply_bins",
    "classifier_bound",
    "equal_count_bins",
    "gaussian_logdet",
    "ksg",
    "mixed_ksg",
    "plugin_discrete",
    "with_moves",
    "with_null",
]


def classifier_bound(
    log_proba_heldout: Float[np.ndarray, "n q"],
    y: Int[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Lower bound on the information about y that a classifier reads: H(Y) minus its held-out
    cross-entropy, in bits, with the interval of its expectation over held-out documents.

    It is a bound because a cross-entropy is never below H(Y|X). H(Y) is that of the held-out labels. A
    classifier worse than their rates gives a negative value, which is kept. There is no interval where fewer
    than eight clusters hold the second most frequent class.

    Args:
        log_proba_heldout: ``[n, q]`` natural logarithms of the probabilities of the q classes, on rows that
            were not fitted.
        y: ``[n]`` the class of each row, 0 to q - 1.
        clusters: ``[n]`` the example of each row, for the standard error and the interval.

    Raises:
        DataError: for shapes that do not fit, classes out of range, rows that do not sum to probability 1,
            or a probability of 0 for a class that occurred (the bound is then minus infinity: smooth the
            classifier).

    Source: Barber and Agakov (2003), "The IM algorithm"; McAllester and Stratos (2020) for H(Y) minus
    cross-entropy.
    """
    if hasattr(log_proba_heldout, "detach"):
        log_proba_heldout = log_proba_heldout.detach().cpu().numpy()
    log_proba = np.asarray(log_proba_heldout, dtype=np.float64)
    labels = np.asarray(y)
    if log_proba.ndim != 2 or labels.shape != (len(log_proba),) or not len(labels):
        raise DataError(f"Shapes {log_proba.shape} and {labels.shape} do not fit: pass [n, q] and [n].")
    codes = labels.astype(np.int64)
    if (codes != labels).any() or codes.min() < 0 or codes.max() >= log_proba.shape[1]:
        raise DataError(f"Labels must be columns of the classifier, 0 to {log_proba.shape[1] - 1}.")
    if np.isnan(log_proba).any() or (np.abs(np.exp(log_proba).sum(axis=1) - 1) > 1e-3).any():
        raise DataError("Rows of log-probabilities must be natural logarithms of numbers that sum to 1.")
    scored = log_proba[np.arange(len(codes)), codes]
    if np.isinf(scored).any():
        raise DataError("A class that occurred has probability 0: smooth the classifier, or clip at 1e-12.")
    share = np.bincount(codes, minlength=log_proba.shape[1]) / len(codes)
    few = held(codes, clusters).reason
    return from_terms(scored - np.log(share[codes]), "lower bound", clusters=clusters, interval=not few, note=few)


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
