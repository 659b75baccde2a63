"""Mutual information from nearest neighbours, for few dimensions.

With clusters (documents), the neighbours of a row are those of other clusters: see :mod:`workbench.information.neighbours`. The
standard error is the sampling error over clusters and no measure of the bias, which grows with the dimension and with the
information; :func:`workbench.information.bias.with_moves` shows it.

Features are standardised and distances are the maximum norm. Jitter policy: after standardisation every
value gets Gaussian noise of deviation 1e-10 from a seeded generator, because tied rows have neighbours at
distance 0, where the formulas break. It changes nothing that float32 activations can hold. Features with
point masses are no density at all: when more than 1 % of the rows repeat another, the note says so; use
:func:`workbench.information.plugin_discrete` on such features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

from workbench.errors import ConfigError, DataError
from workbench.information.estimate import Estimate, from_terms, joined, read_features, standardised
from workbench.information.neighbours import apart, distinct
from workbench.statistics.clusters import cluster_ids

MAX_DIMENSION = 10
"""Neighbours are far apart above this: five dimensions at 5,000 rows already lose a fifth of one nat."""

_COARSE = 0.5
_JITTER = 1e-10
_ALL_PAIRS = 2500
_ROWS = 512


def ksg(X: Any, Y: Any, k: int = 3, *, clusters: Shaped[np.ndarray, " n"] | None = None, seed: int = 0) -> Estimate:
    """Information between two sets of continuous features, in bits: psi(k) + psi(N) - <psi(n_x + 1) +
    psi(n_y + 1)>.

    n_x and n_y count the rows strictly nearer in X, and in Y, than the k-th neighbour in both. With clusters, neighbours and
    counts are of rows in other clusters, and rows that repeat another of their cluster count once.

    Args:
        X: ``[n, d]``.
        Y: ``[n, e]``; d + e at most 10 after constant features are dropped.
        k: neighbours, at least (d + e) / 4 + 1.
        clusters: ``[n]`` the document of each row; None takes rows as independent.
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
    ids = None
    if clusters is not None:
        ids, _ = cluster_ids(clusters, len(first))
        kept = distinct(np.concatenate([first, second], axis=1), ids)
        if len(kept) < len(first):
            note = joined(note, f"{len(first) - len(kept)} rows that repeat another of their cluster left out")
        first, second, ids = first[kept], second[kept], ids[kept]
    if first.shape[1] == 0 or second.shape[1] == 0:
        return Estimate(0.0, "point", len(first), 0.0, k=k, note=note)
    check_neighbours(first.shape[1] + second.shape[1], k, len(first))
    coarse = coarse_note(first.shape[1] + second.shape[1], k, len(first))
    note = joined(note, coarse, tie_note(first), tie_note(second, "Y"))
    both = jittered(np.concatenate([first, second], axis=1), seed)
    first, second = both[:, : first.shape[1]], both[:, first.shape[1] :]
    if ids is not None:
        return from_terms(_terms_outside(first, second, ids, k), "point", clusters=ids, k=k, note=note)
    distance, _ = cKDTree(both).query(both, k=k + 1, p=np.inf)
    radius = distance[:, -1]
    # Each count holds the row itself, which is the "+ 1" of the formula.
    terms = -digamma(count_within(first, radius)) - digamma(count_within(second, radius))
    return from_terms(terms, "point", shift=float(digamma(k) + digamma(len(first))), k=k, note=note)


def _terms_outside(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n e"], ids: Int[np.ndarray, " n"], k: int
) -> Float[np.ndarray, " n"]:
    """The terms of :func:`ksg` from rows of other clusters."""
    outside = len(ids) - np.bincount(ids)[ids]
    if outside.min() < k:
        raise DataError(f"A row has only {outside.min()} rows in other clusters, fewer than k={k}: give more documents.")
    terms = np.empty(len(ids))
    for start in range(0, len(ids), _ROWS):
        part = slice(start, start + _ROWS)
        in_first, in_second = (apart(one[part], one, ids[part], ids) for one in (first, second))
        both = np.maximum(in_first, in_second)
        radius = np.partition(both, k - 1, axis=1)[:, k - 1, None]
        counts = [(near < radius).sum(axis=1) + 1 for near in (in_first, in_second)]
        terms[part] = digamma(k) + digamma(outside[part] + 1) - digamma(counts[0]) - digamma(counts[1])
    return terms


def count_within(X: Float[np.ndarray, "n d"], radius: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
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


def check_neighbours(dimension: int, k: int, n: int) -> None:
    """Refuse dimensions and neighbours with which the estimates mean nothing, with a ConfigError."""
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


def jittered(X: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n d"]:
    """X with the noise that parts tied rows."""
    return X + _JITTER * np.random.default_rng(seed).standard_normal(X.shape)


def coarse_note(dimension: int, k: int, n: int) -> str:
    """What a reader must know where neighbourhoods are large; empty where they are small.

    k of n rows lie within ``(k / n)^(1 / d)`` of each coordinate's range; what the features share on a finer scale is not seen.
    """
    if (k / n) ** (1 / dimension) < _COARSE:
        return ""
    return (
        f"too few rows for {dimension} dimensions: neighbourhoods span half of each coordinate's range, and the value may be too"
        " low"
    )


def tie_note(X: Float[np.ndarray, "n d"], what: str = "X") -> str:
    """What a reader must know of rows that repeat others; empty where there are few."""
    repeated = 1 - len(np.unique(X, axis=0)) / len(X)
    if repeated <= 0.01:
        return ""
    return f"{repeated:.0%} of the rows of {what} repeat another: a discrete estimator fits better"
