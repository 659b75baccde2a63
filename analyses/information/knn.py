"""Mutual information from nearest neighbours, for few dimensions.

Features are standardised and distances are the maximum norm. Jitter policy: after standardisation every
value gets Gaussian noise of deviation 1e-10 from a seeded generator, because tied rows have neighbours at
distance 0, where the formulas break. It changes nothing that float32 activations can hold. Features with
point masses are no density at all: when more than 1 % of the rows repeat another, the note says so; use
:func:`analyses.information.estimators.plugin_discrete` on such features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

from analyses.information.estimate import (
    Estimate,
    from_terms,
    joined,
    read_classes,
    read_features,
    standardised,
)
from workbench.errors import ConfigError, DataError

MAX_DIMENSION = 10
"""Neighbours are far apart above this: five dimensions at 5,000 rows already lose a fifth of one nat."""

_JITTER = 1e-10
_ALL_PAIRS = 2500


def mixed_ksg(X: Any, y: Any, k: int = 3, *, seed: int = 0) -> Estimate:
    """Information between continuous features and a discrete label, in bits.

    The estimate is psi(N) + psi(k) - <psi(N_y)> - <psi(m)>: m counts the rows of any label as near as the
    k-th neighbour of the same label. A label with fewer than k + 1 rows uses all of its rows; rows whose
    label occurs once are left out. The standard error takes rows as independent.

    Args:
        X: ``[n, d]``, d at most 10 after constant features are dropped.
        y: ``[n]`` discrete.
        k: neighbours, at least d / 4 + 1.
        seed: of the jitter.

    Raises:
        ConfigError: for too many dimensions or too few neighbours: compress first.
        DataError: for unusable X or y, or no label with two rows.

    Source: Ross (2014), "Mutual information between discrete and continuous data sets".
    """
    features, note = standardised(read_features(X))
    codes, counts = read_classes(y, len(features))
    kept = counts[codes] > 1
    if not kept.any():
        raise DataError("No label occurs twice, so no row has a neighbour of its label: bin the label first.")
    if not kept.all():
        note = joined(note, f"{int((~kept).sum())} rows whose label occurs once left out")
    features, codes = features[kept], codes[kept]
    if features.shape[1] == 0:
        return Estimate(0.0, "point", len(features), 0.0, k=k, note=note)
    _check_neighbours(features.shape[1], k, len(features))
    note = joined(note, _tie_note(features))
    features = _jittered(features, seed)
    radius, used, sizes = np.empty(len(codes)), np.empty(len(codes)), np.empty(len(codes))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        near = min(k, len(rows) - 1)
        distance, _ = cKDTree(features[rows]).query(features[rows], k=near + 1, p=np.inf)
        radius[rows], used[rows], sizes[rows] = distance[:, -1], near, len(rows)
    # Strictly inside the radius, and the row itself: together Ross's m, which counts the k-th neighbour and
    # not the row.
    within = _count_within(features, radius)
    terms = digamma(used) - digamma(sizes) - digamma(within)
    return from_terms(terms, "point", shift=float(digamma(len(codes))), k=k, note=note)


def ksg(X: Any, Y: Any, k: int = 3, *, seed: int = 0) -> Estimate:
    """Information between two sets of continuous features, in bits: psi(k) + psi(N) - <psi(n_x + 1) +
    psi(n_y + 1)>.

    n_x and n_y count the rows strictly nearer in X, and in Y, than the k-th neighbour in both. The standard
    error takes rows as independent.

    Args:
        X: ``[n, d]``.
        Y: ``[n, e]``; d + e at most 10 after constant features are dropped.
        k: neighbours, at least (d + e) / 4 + 1.
        seed: of the jitter.

    Raises:
        ConfigError: for too many dimensions or too few neighbours: compress first.
        DataError: for unusable X or Y.

    Source: Kraskov, Stoegbauer and Grassberger (2004), "Estimating mutual information", estimator 1.
    """
    first, note_first = standardised(read_features(X))
    second, note_second = standardised(read_features(Y, "Y"), "Y")
    if len(first) != len(second):
        raise DataError(f"X has {len(first)} rows and Y has {len(second)}: give pairs of rows.")
    note = joined(note_first, note_second)
    if first.shape[1] == 0 or second.shape[1] == 0:
        return Estimate(0.0, "point", len(first), 0.0, k=k, note=note)
    _check_neighbours(first.shape[1] + second.shape[1], k, len(first))
    note = joined(note, _tie_note(first), _tie_note(second, "Y"))
    both = _jittered(np.concatenate([first, second], axis=1), seed)
    first, second = both[:, : first.shape[1]], both[:, first.shape[1] :]
    distance, _ = cKDTree(both).query(both, k=k + 1, p=np.inf)
    radius = distance[:, -1]
    # Each count holds the row itself, which is the "+ 1" of the formula.
    terms = -digamma(_count_within(first, radius)) - digamma(_count_within(second, radius))
    return from_terms(terms, "point", shift=float(digamma(k) + digamma(len(first))), k=k, note=note)


def _count_within(X: Float[np.ndarray, "n d"], radius: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Rows strictly nearer than the radius, the row itself among them."""
    if X.shape[1] == 1:
        line = np.sort(X[:, 0])
        # x + radius rounds, and must not reach the neighbour at the radius: step back by more than the
        # rounding.
        inside = radius - 4 * np.finfo(float).eps * np.abs(line[[0, -1]]).max()
        upto = np.searchsorted(line, X[:, 0] + inside, side="right")
        return np.maximum(upto - np.searchsorted(line, X[:, 0] - inside, side="left"), 1)
    inside = np.nextafter(radius, 0)
    if len(X) <= _ALL_PAIRS and X.shape[1] > 2:
        # In several dimensions a ball reaches most of the tree's cells: looking at all pairs is several times faster.
        return (cdist(X, X, "chebyshev") <= inside[:, None]).sum(axis=1)
    return cKDTree(X).query_ball_point(X, inside, p=np.inf, return_length=True)


def _check_neighbours(dimension: int, k: int, n: int) -> None:
    if dimension > MAX_DIMENSION:
        raise ConfigError(
            f"Nearest neighbours mean little in {dimension} dimensions (limit {MAX_DIMENSION}): compress"
            " first, with PCACompressor(k)."
        )
    fewest = int(np.ceil(dimension / 4 + 1))
    if k < fewest:
        raise ConfigError(f"k={k} is too few in {dimension} dimensions: use k={fewest} or compress first.")
    if k >= n:
        raise ConfigError(f"k={k} neighbours need more than {n} rows: lower k or give more rows.")


def _jittered(X: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n d"]:
    return X + _JITTER * np.random.default_rng(seed).standard_normal(X.shape)


def _tie_note(X: Float[np.ndarray, "n d"], what: str = "X") -> str:
    repeated = 1 - len(np.unique(X, axis=0)) / len(X)
    if repeated <= 0.01:
        return ""
    return f"{repeated:.0%} of the rows of {what} repeat another: a discrete estimator fits better"
