"""Mutual information from nearest neighbours, for few dimensions.

With clusters (documents), the neighbours of a row are those of other clusters: see :mod:`analyses.information.neighbours`. The
standard error is the sampling error over clusters and no measure of the bias, which grows with the dimension and with the
information; :func:`analyses.information.bias.with_moves` shows it.

Features are standardised and distances are the maximum norm. Jitter policy: after standardisation every
value gets Gaussian noise of deviation 1e-10 from a seeded generator, because tied rows have neighbours at
distance 0, where the formulas break. It changes nothing that float32 activations can hold. Features with
point masses are no density at all: when more than 1 % of the rows repeat another, the note says so; use
:func:`analyses.information.estimators.plugin_discrete` on such features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
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
from analyses.information.neighbours import Neighbours, apart, distinct
from analyses.information.null import dealer, held
from workbench.errors import ConfigError, DataError
from workbench.statistics.clusters import cluster_ids
from workbench.statistics.nulls import upper
from workbench.statistics.sequential import sequential_p

MAX_DIMENSION = 10
"""Neighbours are far apart above this: five dimensions at 5,000 rows already lose a fifth of one nat."""

NOT_ZERO = "reads more or less than 0 for permuted labels, by more than its sampling error: compare it with its null"

_JITTER = 1e-10
_ALL_PAIRS = 2500
_DRAWS = 100
"""Labellings whose estimates are made at once."""
_ROWS = 512


def mixed_ksg(X: Any, y: Any, k: int = 3, *, clusters: Shaped[np.ndarray, " n"] | None = None, seed: int = 0) -> Estimate:
    """Information between continuous features and a discrete label, in bits.

    The estimate is psi(N) + psi(k) - <psi(N_y)> - <psi(m)>: m counts the rows of any label as near as the
    k-th neighbour of the same label. A label with fewer than k + 1 rows uses all of its rows; rows whose
    label occurs once are left out. With clusters, N, N_y and m count rows of other clusters alone, rows that
    repeat another of their cluster and label count once, and rows whose label is in no other cluster are left out.

    Args:
        X: ``[n, d]``, d at most 10 after constant features are dropped.
        y: ``[n]`` discrete.
        k: neighbours, at least d / 4 + 1.
        clusters: ``[n]`` the document of each row; None takes rows as independent.
        seed: of the jitter.

    Raises:
        ConfigError: for too many dimensions or too few neighbours: compress first. For more than 5,000 rows with clusters.
        DataError: for unusable X or y, or no label with two rows (in two clusters).

    Source: Ross (2014), "Mutual information between discrete and continuous data sets".
    """
    if clusters is not None:
        rows = MixedRows.of(X, y, k, clusters, seed)
        return rows.estimate()
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


@dataclass(frozen=True)
class MixedRows:
    """Rows for :func:`mixed_ksg` with clusters, of which one search of neighbours serves many labellings.

    Attributes:
        neighbours: Of the rows that are used.
        codes: ``[k]`` label of each.
        clusters: ``[k]`` cluster of each.
        k: Neighbours.
        note: What a reader must know.
    """

    neighbours: Neighbours | None
    codes: Int[np.ndarray, " k"]
    clusters: Int[np.ndarray, " k"]
    k: int
    note: str

    @classmethod
    def of(cls, X: Any, y: Any, k: int, clusters: Shaped[np.ndarray, " n"], seed: int = 0) -> MixedRows:
        """Read rows, and search their neighbours. Errors as :func:`mixed_ksg`."""
        features, note = standardised(read_features(X))
        codes, _ = read_classes(y, len(features))
        ids, _ = cluster_ids(clusters, len(features))
        kept = distinct(features, ids, codes)
        if len(kept) < len(features):
            note = joined(note, f"{len(features) - len(kept)} rows that repeat another of their cluster left out")
        features, codes, ids = features[kept], codes[kept], ids[kept]
        if features.shape[1] == 0:
            return cls(None, codes, ids, k, note)
        _check_neighbours(features.shape[1], k, len(features))
        note = joined(note, _tie_note(features))
        return cls(Neighbours.of(_jittered(features, seed), ids), codes, ids, k, note)

    def estimate(self) -> Estimate:
        """The estimate for the rows' own labels."""
        if self.neighbours is None:
            return Estimate(0.0, "point", len(self.codes), 0.0, k=self.k, note=self.note)
        terms = self.neighbours.terms(self.codes[:, None], self.k)[:, 0]
        known = ~np.isnan(terms)
        if not known.any():
            raise DataError("No label lies in two clusters, so no row has a neighbour of its label: give more documents.")
        left_out = int((~known).sum())
        note = joined(self.note, f"{left_out} rows whose label is in no other cluster left out" if left_out else "")
        return from_terms(terms[known], "point", clusters=self.clusters[known], k=self.k, note=note)

    def permuted(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, " count"]:
        """The estimates, in bits, for labels dealt to other clusters."""
        if self.neighbours is None:
            return np.zeros(count)
        deal = dealer(self.codes, self.clusters)
        values = []
        for start in range(0, count, _DRAWS):
            labels = np.stack([self.codes[deal(rng)] for _ in range(min(_DRAWS, count - start))], axis=1)
            terms = self.neighbours.terms(labels, self.k)
            known = ~np.isnan(terms)
            values.append(np.where(known, terms, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
        return np.concatenate(values) / np.log(2)


def ksg_with_null(
    found: Estimate, X: Any, y: Any, clusters: Shaped[np.ndarray, " n"], permutations: int, draws: int, seed: int = 0
) -> Estimate:
    """An estimate of :func:`mixed_ksg` with its null and p value: labels dealt to other documents.

    Equal to :func:`~analyses.information.null.with_null`, but neighbours are searched once, and permutations end early where the
    value is plainly no larger than its null.

    Args:
        found: The estimate.
        X, y, clusters: What it was made of.
        permutations: Draws that the null is taken from, at least 19.
        draws: Most draws for the p value.
        seed: Of the draws, and of the jitter.
    """
    counts = held(np.asarray(y), clusters)
    if counts.clusters < 2:
        return replace(found, note=joined(found.note, counts.reason))
    rows, rng = MixedRows.of(X, y, found.k or 1, clusters, seed), np.random.default_rng(seed)
    value = found.value - 1e-9
    most = permutations if counts.reason else max(permutations, draws)
    p, values = sequential_p(value, lambda count: rows.permuted(count, rng), permutations, most)
    null = values[:permutations]
    stands = float(null.mean())
    return replace(
        found,
        null=stands,
        null_high=float(upper(null)),
        p=float("nan") if counts.reason else p,
        note=joined(found.note, NOT_ZERO if abs(stands) > found.standard_error else "", counts.reason),
    )


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
    _check_neighbours(first.shape[1] + second.shape[1], k, len(first))
    note = joined(note, _tie_note(first), _tie_note(second, "Y"))
    both = _jittered(np.concatenate([first, second], axis=1), seed)
    first, second = both[:, : first.shape[1]], both[:, first.shape[1] :]
    if ids is not None:
        return from_terms(_terms_outside(first, second, ids, k), "point", clusters=ids, k=k, note=note)
    distance, _ = cKDTree(both).query(both, k=k + 1, p=np.inf)
    radius = distance[:, -1]
    # Each count holds the row itself, which is the "+ 1" of the formula.
    terms = -digamma(_count_within(first, radius)) - digamma(_count_within(second, radius))
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
