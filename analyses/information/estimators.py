"""Estimators of mutual information: each takes arrays and answers an :class:`Estimate` in bits.

Which to use: a probe's held-out probabilities give :func:`classifier_bound` in any dimension;
:func:`mixed_ksg` and :func:`ksg` need ten dimensions or fewer (compress first); :func:`gaussian_logdet`
sees linear dependence alone; :func:`plugin_discrete` is for codes and bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import digamma

from analyses.information.estimate import (
    Estimate,
    from_terms,
    joined,
    read_classes,
    read_features,
    standardised,
    with_floor,
)
from analyses.information.knn import ksg, mixed_ksg
from workbench.errors import ConfigError, DataError

__all__ = [
    "Estimate",
    "apply_bins",
    "classifier_bound",
    "equal_count_bins",
    "gaussian_logdet",
    "ksg",
    "mixed_ksg",
    "plugin_discrete",
    "with_floor",
]


def classifier_bound(
    log_proba_heldout: Float[np.ndarray, "n q"],
    y: Int[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Lower bound on the information about y that a classifier reads: H(Y) minus its held-out
    cross-entropy, in bits.

    It is a bound because a cross-entropy is never below H(Y|X). H(Y) is that of the held-out labels. A
    classifier worse than their rates gives a negative value, which is kept.

    Args:
        log_proba_heldout: ``[n, q]`` natural logarithms of the probabilities of the q classes, on rows that
            were not fitted.
        y: ``[n]`` the class of each row, 0 to q - 1.
        clusters: ``[n]`` the example of each row, for the standard error.

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
    return from_terms(scored - np.log(share[codes]), "lower bound", clusters=clusters)


def gaussian_logdet(X: Any, Y: Any) -> Estimate:
    """Information between two sets of jointly Gaussian features, in bits: -1/2 sum log(1 - r^2) over
    canonical correlations.

    The expectation of the same sum under a Gaussian sample (the bias) is taken off by the digamma formula.
    For other distributions it measures linear dependence only. Repeated or dependent features count once.

    Args:
        X: ``[n, d]``.
        Y: ``[n, e]``; n above rank(X) + rank(Y) + 1.

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
    correlations = np.minimum(np.linalg.svd(left.T @ right, compute_uv=False), 1)
    if 1 - correlations[0] < 1e-12:
        raise DataError("X determines part of Y, so the information is infinite: add noise first.")
    nats = -0.5 * np.log1p(-(correlations**2)).sum()
    bias = 0.5 * (_logdet_bias(p, n) + _logdet_bias(q, n) - _logdet_bias(p + q, n))
    # The variance of the information density of a Gaussian is the sum of the squared canonical correlations.
    error = np.sqrt((correlations**2).sum() / n)
    return Estimate(float((nats - bias) / np.log(2)), "point", n, float(error / np.log(2)), note=note)


def plugin_discrete(codes: Shaped[np.ndarray, "n ..."], y: Shaped[np.ndarray, " n"], *, correct: bool = True) -> Estimate:
    """Information between two discrete variables from their counts, in bits.

    Args:
        codes: ``[n]``, or ``[n, d]`` whose distinct rows are the values.
        y: ``[n]`` discrete.
        correct: take the Miller-Madow bias off each entropy: (K_x + K_y - K_xy - 1) / 2n nats are added, K
            counting the values that occur.

    Raises:
        DataError: for lengths that do not fit, or nan.

    Source: Miller (1955), "Note on the bias of information estimates".
    """
    values = np.asarray(codes)
    if values.ndim > 1:
        values = np.unique(values.reshape(len(values), -1), axis=0, return_inverse=True)[1].reshape(-1)
    first, count_first = read_classes(values, len(values))
    second, count_second = read_classes(y, len(values))
    pair, count_pair = read_classes(first * len(count_second) + second, len(values))
    n = len(values)
    terms = np.log(count_pair[pair] * n / (count_first[first] * count_second[second]))
    shift = (len(count_first) + len(count_second) - len(count_pair) - 1) / (2 * n) if correct else 0.0
    return from_terms(terms, "point", shift=shift, note="Miller-Madow" if correct else "plug-in")


def equal_count_bins(X: Any, bins: int = 30) -> tuple[Int[np.ndarray, "n d"], list[Float[np.ndarray, " edges"]]]:
    """Cut every feature at equal counts of its distinct values.

    Counting distinct values rather than rows keeps a heap of equal values (the zeros of a ReLU) in one bin.

    Args:
        X: ``[n, d]`` (a vector is one feature).
        bins: per feature, at least 2; a feature with fewer distinct values gets one bin a value.

    Returns:
        codes ``[n, d]`` from 0, and the inner edges of each feature: code c holds edge[c - 1] <= x <
        edge[c]. Store the edges with any value that came from them.

    Raises:
        ConfigError: for fewer than two bins.

    Source: the entropy-based adaptive bins of Chelombiev, Houghton and O'Donnell (2019), "Adaptive
    estimators show information compression in deep neural networks".
    """
    if bins < 2:
        raise ConfigError(f"{bins} bins hold no information: use at least 2.")
    features = read_features(X)
    edges = []
    for feature in features.T:
        distinct = np.unique(feature)
        places = np.arange(1, min(bins, len(distinct))) * len(distinct) // min(bins, len(distinct))
        edges.append(distinct[places])
    return apply_bins(features, edges), edges


def apply_bins(X: Any, edges: list[Float[np.ndarray, " edges"]]) -> Int[np.ndarray, "n d"]:
    """Code rows by edges from :func:`equal_count_bins`, for example of the training rows.

    Raises:
        DataError: when X has another number of features.
    """
    features = read_features(X)
    if features.shape[1] != len(edges):
        raise DataError(f"X has {features.shape[1]} features, the edges {len(edges)}: pass the same features.")
    coded = [np.searchsorted(e, x, side="right") for x, e in zip(features.T, edges, strict=True)]
    return np.stack(coded, axis=1)


def _orthonormal(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
    basis, sizes, _ = np.linalg.svd(X, full_matrices=False)
    return basis[:, sizes > sizes[0] * 1e-10]


def _logdet_bias(p: int, n: int) -> float:
    """Bias of the log determinant of a sample covariance of p Gaussian features, less terms that cancel."""
    return float(digamma((n - np.arange(1, p + 1)) / 2).sum())
