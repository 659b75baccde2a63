"""Mutual information of discrete variables, and the bins that make features discrete."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import ConfigError, DataError
from workbench.information.estimate import Estimate, from_terms, read_classes, read_features
from workbench.statistics.clusters import cluster_ids

ALONE = 0.05
"""Share of rows alone in their cell of the table above which it is too sparse: the bias that is left is about as many bits."""

_CELLS = 1 << 22


def plugin_discrete(
    codes: Shaped[np.ndarray, "n ..."],
    y: Shaped[np.ndarray, " n"],
    *,
    correct: bool = True,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Information between two discrete variables from their counts, in bits.

    The sampling error is no interval: near independence the estimate is not normal. Take the p value of
    :func:`~workbench.information.null.with_null`.

    Args:
        codes: ``[n]``, or ``[n, d]`` whose distinct rows are the values.
        y: ``[n]`` discrete.
        correct: take the bias off. Of independent rows it is Miller-Madow's: (K_x + K_y - K_xy - 1) / 2n nats are added, K
            counting the values that occur. With clusters it is the jackknife's, which leaves one cluster out at a time.
        clusters: ``[n]`` the document of each row; None takes rows as independent.

    Raises:
        DataError: for lengths that do not fit, or nan. With ``correct``, where more than 5% of the rows are alone in their cell
            of the table of both variables (with clusters: no other cluster has a row there). The correction then leaves a bias
            of about as many bits as that share, or more: .85 of the rows of two independent variables of 50 values are alone
            in 400 rows, and the corrected estimate reads 2.1 bits.

    Source: Miller (1955), "Note on the bias of information estimates"; Zahl (1977), "Jackknifing an index of diversity"; the
    share alone in their cell is Good's (1953) estimate of the probability of what was not seen.
    """
    values = np.asarray(codes)
    if values.ndim > 1:
        values = np.unique(values.reshape(len(values), -1), axis=0, return_inverse=True)[1].reshape(-1)
    first, count_first = read_classes(values, len(values))
    second, count_second = read_classes(y, len(values))
    pair, count_pair = read_classes(first * len(count_second) + second, len(values))
    n = len(values)
    ids, count = cluster_ids(clusters, n)
    if correct:
        _refuse_sparse(pair, count_pair, ids, count, (len(count_first), len(count_second)), clusters is not None)
    terms = np.log(count_pair[pair] * n / (count_first[first] * count_second[second]))
    if not correct:
        return from_terms(terms, "point", clusters=clusters, note="plug-in")
    if clusters is None:
        shift = (len(count_first) + len(count_second) - len(count_pair) - 1) / (2 * n)
        return from_terms(terms, "point", shift=shift, note="Miller-Madow")
    shift = _jackknife_shift(first, second, ids, count) if count > 1 else 0.0
    return from_terms(terms, "point", clusters=clusters, shift=shift, note="jackknife over clusters")


def _refuse_sparse(
    pair: Int[np.ndarray, " n"], count_pair: Int[np.ndarray, " q"], ids: Int[np.ndarray, " n"], count: int,
    values: tuple[int, int], clustered: bool,
) -> None:  # fmt: skip
    """Refuse a table where too many rows are alone in their cell."""
    held = np.bincount(np.unique(pair.astype(np.int64) * count + ids) // count)
    alone = float(count_pair[held == 1].sum() / len(pair))
    if alone > ALONE:
        what = "in a cell where no other document has one" if clustered else "alone in their cell"
        raise DataError(
            f"The table of {values[0]} by {values[1]} values is too sparse for {len(pair):,} rows: {alone:.0%} of them are {what}"
            f" (limit {ALONE:.0%}), which would read as information. Join values, use fewer bins, or give more rows."
        )


def _jackknife_shift(
    first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"], ids: Int[np.ndarray, " n"], count: int
) -> float:
    """What the jackknife over clusters adds to the plug-in estimate, in nats."""
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    cell = first.astype(np.int64) * columns + second
    table = np.bincount(cell, minlength=rows * columns)
    keys, sizes = np.unique(ids.astype(np.int64) * table.size + cell, return_counts=True)
    owner, place = np.divmod(keys, table.size)
    without = np.empty(count)
    step = max(1, _CELLS // table.size)
    for start in range(0, count, step):
        stop = min(start + step, count)
        left = np.broadcast_to(table, (stop - start, table.size)).copy()
        inside = (owner >= start) & (owner < stop)
        left[owner[inside] - start, place[inside]] -= sizes[inside]
        without[start:stop] = _plug_in(left.reshape(-1, rows, columns))
    whole = _plug_in(table.reshape(1, rows, columns))[0]
    return float((count - 1) * (whole - without.mean()))


def _plug_in(tables: Int[np.ndarray, "t a b"]) -> Float[np.ndarray, " t"]:
    """Information of tables of counts, in nats."""

    def entropy(counts: Int[np.ndarray, "t k"]) -> Float[np.ndarray, " t"]:
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)

    return entropy(tables.sum(axis=2)) + entropy(tables.sum(axis=1)) - entropy(tables.reshape(len(tables), -1))


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
