"""Mutual information of continuous features and a label from nearest neighbours, with documents taken into account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.spatial import cKDTree
from scipy.special import digamma

from workbench.errors import DataError
from workbench.information.bias import moved
from workbench.information.estimate import Estimate, from_terms, joined, read_classes, read_features, standardised
from workbench.information.knn import check_neighbours, coarse_note, count_within, jittered, tie_note
from workbench.information.neighbours import Neighbours, distinct
from workbench.information.null import held
from workbench.statistics.clusters import cluster_ids
from workbench.statistics.dealing import dealer
from workbench.statistics.nulls import upper
from workbench.statistics.sequential import sequential_p

NOT_ZERO = "reads more or less than 0 for permuted labels, by more than its sampling error: compare it with its null"

_DRAWS = 100
"""Labellings whose estimates are made at once."""


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
        return MixedRows.of(X, y, k, clusters, seed).estimate(k)
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
    check_neighbours(features.shape[1], k, len(features))
    note = joined(note, coarse_note(features.shape[1], k, len(features)), tie_note(features))
    features = jittered(features, seed)
    radius, used, sizes = np.empty(len(codes)), np.empty(len(codes)), np.empty(len(codes))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        near = min(k, len(rows) - 1)
        distance, _ = cKDTree(features[rows]).query(features[rows], k=near + 1, p=np.inf)
        radius[rows], used[rows], sizes[rows] = distance[:, -1], near, len(rows)
    # Strictly inside the radius, and the row itself: together Ross's m, which counts the k-th neighbour and
    # not the row.
    within = count_within(features, radius)
    terms = digamma(used) - digamma(sizes) - digamma(within)
    return from_terms(terms, "point", shift=float(digamma(len(codes))), k=k, note=note)


@dataclass(frozen=True)
class MixedRows:
    """Rows for :func:`mixed_ksg` with clusters, of which one search of neighbours serves many labellings.

    Attributes:
        neighbours: Of the rows that are used; None where no feature varies.
        codes: ``[r]`` label of each.
        clusters: ``[r]`` cluster of each.
        note: What a reader must know.
    """

    neighbours: Neighbours | None
    codes: Int[np.ndarray, " r"]
    clusters: Int[np.ndarray, " r"]
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
            return cls(None, codes, ids, note)
        check_neighbours(features.shape[1], k, len(features))
        note = joined(note, coarse_note(features.shape[1], k, len(features)), tie_note(features))
        return cls(Neighbours.of(jittered(features, seed), ids), codes, ids, note)

    def estimate(self, k: int) -> Estimate:
        """The estimate for the rows' own labels."""
        if self.neighbours is None:
            return Estimate(0.0, "point", len(self.codes), 0.0, k=k, note=self.note)
        terms = self.neighbours.terms(self.codes[:, None], k)[:, 0]
        known = ~np.isnan(terms)
        if not known.any():
            raise DataError("No label lies in two clusters, so no row has a neighbour of its label: give more documents.")
        left_out = int((~known).sum())
        note = joined(self.note, f"{left_out} rows whose label is in no other cluster left out" if left_out else "")
        return from_terms(terms[known], "point", clusters=self.clusters[known], k=k, note=note)

    def permuted(self, k: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, " count"]:
        """The estimates, in bits, for labels dealt to other clusters."""
        if self.neighbours is None:
            return np.zeros(count)
        deal = dealer(self.codes, self.clusters)
        values = []
        for start in range(0, count, _DRAWS):
            labels = np.stack([self.codes[deal(rng)] for _ in range(min(_DRAWS, count - start))], axis=1)
            terms = self.neighbours.terms(labels, k)
            known = ~np.isnan(terms)
            values.append(np.where(known, terms, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
        return np.concatenate(values) / np.log(2)


def mixed_ksg_tested(
    X: Any, y: Any, k: int, clusters: Shaped[np.ndarray, " n"], permutations: int, draws: int, seed: int = 0
) -> Estimate:
    """:func:`mixed_ksg` with how it moves, its null and its p value: labels dealt to other documents.

    Equal to :func:`~workbench.information.bias.with_moves` and :func:`~workbench.information.null.with_null`, but neighbours are
    searched once, and permutations end early where the value is plainly no larger than its null.

    Args:
        X, y, k, clusters: As of :func:`mixed_ksg`.
        permutations: Draws that the null is taken from, at least 19.
        draws: Most draws for the p value.
        seed: Of the draws, of the halves and of the jitter.

    Raises:
        As :func:`mixed_ksg`.
    """
    X, y, rng = np.asarray(X), np.asarray(y), np.random.default_rng(seed)
    rows, counts = MixedRows.of(X, y, k, clusters, seed), held(y, clusters)
    half = partial(mixed_ksg, k=k, seed=seed)
    found = moved(rows.estimate(k), half, lambda: rows.estimate(2 * k), X, y, clusters, seed)
    if counts.clusters < 2:
        return replace(found, note=joined(found.note, counts.reason))
    most = permutations if counts.reason else max(permutations, draws)
    # Sums in another order differ in the last digits, and a draw that is the same arrangement must count as one as large.
    p, values = sequential_p(found.value - 1e-9, lambda count: rows.permuted(k, count, rng), permutations, most)
    null = values[:permutations]
    stands = float(null.mean())
    return replace(
        found,
        null=stands,
        null_high=float(upper(null)),
        p=float("nan") if counts.reason else p,
        note=joined(found.note, NOT_ZERO if abs(stands) > found.standard_error else "", counts.reason),
    )
