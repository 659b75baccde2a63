"""How an estimate moves with the sample size and the number of neighbours, which shows a bias that its sampling error does
not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Shaped

from workbench.errors import WorkbenchError
from workbench.information.estimate import Estimate, joined
from workbench.statistics.clusters import cluster_ids

MOVES = (
    "half of the documents, or twice the neighbours, give another value by more than the sampling error: the bias is larger"
    " than that error (at_half_n, at_twice_k)"
)


def halves(clusters: Shaped[np.ndarray, " n"] | None, n: int, seed: int = 0) -> Bool[np.ndarray, "2 n"]:
    """Two halves of the clusters at random, as masks of rows."""
    ids, count = cluster_ids(clusters, n)
    first = np.random.default_rng(seed).permutation(count)[: count // 2]
    inside = np.isin(ids, first)
    return np.stack([inside, ~inside])


def with_moves(
    estimator: Callable[..., Estimate],
    X: Shaped[np.ndarray, "n d"],
    y: Shaped[np.ndarray, "n ..."],
    k: int,
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate, and again from each half of the clusters and with twice the neighbours.

    A bias of nearest neighbours falls as the sample grows and rises with the neighbours. Where either changes the value by more
    than its sampling error, the note says that the bias is the larger of the two. The reverse does not follow: an estimate can
    stand still at a wrong value.

    Args:
        estimator: :func:`~workbench.information.mixed.mixed_ksg` or :func:`~workbench.information.knn.ksg`, or what takes the
            same arguments.
        X: ``[n, d]``.
        y: ``[n]`` or ``[n, e]``.
        k: neighbours.
        clusters: ``[n]`` the document of each row, or None.
        seed: of the halves.

    Returns:
        The estimate with ``at_half_n`` (the mean of both halves) and ``at_twice_k``; nan where one cannot be made.
    """
    X, y = np.asarray(X), np.asarray(y)
    own = partial(estimator, clusters=clusters, seed=seed)
    return moved(own(X, y, k=k), partial(estimator, k=k, seed=seed), lambda: own(X, y, k=2 * k), X, y, clusters, seed)


def moved(
    found: Estimate, half: Callable[..., Estimate], twice: Callable[[], Estimate],
    X: np.ndarray, y: np.ndarray, clusters: Shaped[np.ndarray, " n"] | None, seed: int,
) -> Estimate:  # fmt: skip
    """An estimate with what ``half`` gives for each half of the clusters, and what ``twice`` gives with twice the neighbours."""

    def at(rows: Bool[np.ndarray, " n"]) -> Estimate:
        return half(X[rows], y[rows], clusters=None if clusters is None else np.asarray(clusters)[rows])

    at_half = float(np.mean([_value(partial(at, rows)) for rows in halves(clusters, len(X), seed)]))
    again = replace(found, at_half_n=at_half, at_twice_k=_value(twice))
    return replace(again, note=joined(again.note, MOVES if again.moves else ""))


def _value(make: Callable[[], Estimate]) -> float:
    try:
        return make().value
    except WorkbenchError:
        return float("nan")
