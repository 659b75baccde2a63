"""The null of an estimate: what the same estimator reads when labels are dealt to other documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from workbench.errors import ConfigError, DataError
from workbench.information.estimate import Estimate, joined
from workbench.statistics.clusters import ENOUGH, cluster_ids
from workbench.statistics.dealing import dealer
from workbench.statistics.nulls import rank_p, upper

PERMUTATIONS = 99
"""Draws of a null: its 95th percentile is then the 95th of them, which 5% of further draws exceed."""
FEW_VALUES = 50
"""Whole numbers that are no more than so many are classes."""


class Held(NamedTuple):
    """In how many clusters a label lies.

    Attributes:
        clusters: Clusters with a known row.
        fewer: Clusters of the value that is second by its clusters; for two values, the fewer of the two.
        reason: Why there is neither an interval nor a p value; empty where there are enough clusters.
    """

    clusters: int
    fewer: int
    reason: str


def held(y: Shaped[np.ndarray, "n ..."], clusters: Shaped[np.ndarray, " n"] | None) -> Held:
    """Count the clusters of a label's values; a quantity has as many as there are.

    Floats are a quantity unless they are a few whole numbers, which are classes in another type; so are several columns.
    """
    ids, count = cluster_ids(clusters, len(y))
    if y.ndim == 1 and y.dtype.kind == "f" and (np.isfinite(y) & (y == np.round(y))).all() and len(np.unique(y)) <= FEW_VALUES:
        y = y.astype(np.int64)
    if y.ndim > 1 or y.dtype.kind == "f":
        return Held(count, count, _few(count, "clusters"))
    _, codes = np.unique(y, return_inverse=True)
    pairs = np.unique(codes.astype(np.int64) * count + ids) // count
    by_value = np.sort(np.bincount(pairs))
    fewer = int(by_value[-2]) if len(by_value) > 1 else 0
    return Held(
        count, fewer, _few(fewer, "clusters hold the second most frequent value" if len(by_value) > 2 else "clusters of a class")
    )


def _few(number: int, what: str) -> str:
    return "" if number >= ENOUGH else f"no interval and no p value: {number} {what}, fewer than {ENOUGH}"


def with_null(
    estimator: Callable[[Any, Any], Estimate],
    X: Shaped[np.ndarray, "n d"],
    y: Shaped[np.ndarray, "n ..."],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Estimate, and again under permuted labels: the null that estimators with bias are held against, and the p value by rank.

    With ``clusters`` whole documents are permuted, since rows of one document are alike. Where each document has one label, the
    labels move among documents. Where labels vary inside documents, each document gets the labels of another that is about as
    long or longer, in their order, so that runs of labels survive. With fewer than eight clusters of either of the two most
    frequent values there is no p value, and the note says so.

    Args:
        estimator: takes (X, y) and returns an Estimate; use ``functools.partial`` to fix its options. One
            that fits a model must fit it inside, or the null is that of a model which has seen the true
            labels.
        X: ``[n, d]``.
        y: ``[n]`` or ``[n, m]``.
        permutations: how many, at least 19; p is never below 1 / (1 + permutations).
        seed: of the permutations.
        clusters: ``[n]`` the document of each row, or None.

    Raises:
        ConfigError: for fewer than 19 permutations, which have no 95th percentile.
        DataError: for lengths that do not fit, or fewer than two clusters.

    Source: Phipson and Smyth (2010) for the p value.
    """
    if permutations < 19:
        raise ConfigError(f"A null needs at least 19 permutations, not {permutations}: pass {PERMUTATIONS}, for example.")
    X, y = np.asarray(X), np.asarray(y)
    if len(X) != len(y):
        raise DataError(f"X has {len(X)} rows and y has {len(y)}: give one label a row.")
    found = estimator(X, y)
    rng = np.random.default_rng(seed)
    deal = dealer(y, clusters)
    values = np.array([estimator(X, y[deal(rng)]).value for _ in range(permutations)])
    counts = held(y, clusters)
    return replace(
        found,
        null=float(values.mean()),
        null_high=float(upper(values)),
        p=float("nan") if counts.reason else rank_p(found.value, values),
        clusters=counts.clusters,
        note=joined(found.note, counts.reason),
    )
