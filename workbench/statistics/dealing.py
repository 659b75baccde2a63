"""Labels that carry nothing: documents are dealt one another's labels, so that their runs within documents are kept."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import DataError
from workbench.statistics.clusters import cluster_ids

_TRIES = 8
"""Deals of which the one is taken whose count of positives is nearest to that of the labels."""
_AGAIN = 50
"""How often a deal is drawn again that leaves out a value of the labels."""
_GIVERS = 10
"""At least so many clusters whose labels another may get."""


def dealer(
    labels: Shaped[np.ndarray, "n ..."], clusters: Shaped[np.ndarray, " n"] | None
) -> Callable[[np.random.Generator], Int[np.ndarray, " n"]]:
    """A function that draws, for each row, the row whose label it gets.

    Labels that are constant within clusters, and those of clusters of one length, are permuted among clusters. Else a cluster
    gets the labels of one that is about as long or longer (`givers`), from its beginning and in their order. Without clusters
    rows are permuted.

    Args:
        labels: ``[n]`` or ``[n, m]``; rows of a cluster in their order.
        clusters: ``[n]``; None makes every row its own.

    Raises:
        DataError: There is not one cluster a row, or there is one cluster only.

    Assumes clusters that are exchangeable. Source: permutation tests of clusters, as in Gail, Mark, Carroll, Green and Pee
    (1996), "On design considerations and randomization-based inference for community intervention trials".
    """
    if clusters is None:
        return lambda rng: rng.permutation(len(labels))
    ids, count = cluster_ids(clusters, len(labels))
    if count < 2:
        raise DataError("All rows are of one cluster: permuting documents needs at least two of them.")
    first = np.unique(ids, return_index=True)[1]
    if bool((labels == labels[first][ids]).all()):
        return lambda rng: first[rng.permutation(count)][ids]
    rows, lengths = np.argsort(ids, kind="stable"), np.bincount(ids)
    starts = np.cumsum(lengths) - lengths
    own = ids[rows]
    place = np.arange(len(rows)) - starts[own]
    alike = bool((lengths == lengths[0]).all())
    # The givers of each length one after another, and where those of each cluster begin.
    sizes, which = np.unique(lengths, return_inverse=True)
    pools = [givers(lengths, size) for size in sizes]
    many = np.array([len(some) for some in pools])
    begin, many, pool = (np.cumsum(many) - many)[which], many[which], np.concatenate(pools)

    def deal(rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        source = rng.permutation(count) if alike else pool[begin + rng.integers(many)]
        dealt = np.empty(len(rows), dtype=np.int64)
        dealt[rows] = rows[starts[source[own]] + place % lengths[source[own]]]
        return dealt

    return deal


def dealt_labels(
    labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None, count: int, seed: int
) -> Shaped[np.ndarray, "k n"]:
    """Draws of labels that could as well have been, if they have nothing to do with what is labelled; see `dealer`.

    Where clusters have different lengths the number of positives differs from draw to draw; of eight deals the one with the
    nearest number is taken. Deals without a positive or without a negative are drawn again: nothing can be fitted to them.

    Args:
        labels: ``[n]``, without unknown ones; rows of a cluster in their order.
        clusters: ``[n]``; None makes every row its own.
        count: Draws k.
        seed: Of the draws.

    Returns:
        ``[k, n]``, of the type of the labels.
    """
    deal, rng = dealer(labels, clusters), np.random.default_rng(seed)
    _, lengths = np.unique(cluster_ids(clusters, len(labels))[0], return_counts=True)
    tries = 1 if (lengths == lengths[0]).all() else _TRIES
    found = np.empty((count, len(labels)), dtype=labels.dtype)
    for number in range(count):
        for _ in range(_AGAIN):
            drawn = np.stack([labels[deal(rng)] for _ in range(tries)])
            off = np.abs(drawn.sum(axis=1, dtype=np.float64) - labels.sum(dtype=np.float64))
            found[number] = drawn[off.argmin()]
            if _has_all(found[number], labels):
                break
    return found


def whole_deal(
    labels: Shaped[np.ndarray, " n"],
    deal: Callable[[np.random.Generator], Int[np.ndarray, " n"]],
    rng: np.random.Generator,
) -> Shaped[np.ndarray, " n"] | None:
    """Labels dealt by a `dealer` that hold every value of the labels, for what is fitted to each of them; None if none is drawn.

    Where clusters have different lengths a deal can leave out a rare value.
    """
    for _ in range(_AGAIN):
        if _has_all(dealt := labels[deal(rng)], labels):
            return dealt
    return None


def _has_all(dealt: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> bool:
    return len(np.unique(dealt)) == len(np.unique(labels))


def givers(lengths: Int[np.ndarray, " G"], length: int) -> Int[np.ndarray, " h"]:
    """The clusters whose labels one of a length may get: those not much shorter, and the longest where there are few of them.

    Labels repeated to fill a much longer cluster would vary more than labels of such a cluster do.
    """
    enough = np.flatnonzero(lengths >= 0.8 * length)
    return enough if len(enough) >= _GIVERS else np.argsort(-lengths, kind="stable")[:_GIVERS]


def arrangements(labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None) -> float:
    """In how many ways labels can be dealt out that are constant within clusters; infinite where those of a cluster differ.

    No p value of a permutation test is below one over it: with 15 clusters of which 7 are positive, 1 / 6,435.
    """
    ids, n_clusters = cluster_ids(clusters, len(labels))
    sizes = np.bincount(ids, minlength=n_clusters)
    share: Float[np.ndarray, " g"] = np.bincount(ids, weights=labels, minlength=n_clusters) / sizes
    constant = bool(((share == 0) | (share == 1)).all())
    ways = comb(n_clusters, int((share == 1).sum())) if constant else 0
    # Beyond what a float holds, the number makes no difference.
    return float(ways) if constant and ways < 10**300 else np.inf
