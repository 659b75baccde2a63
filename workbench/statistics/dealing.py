"""Labels that carry nothing: the labels of each cluster are dealt to another one, so that their runs within clusters are kept."""

from __future__ import annotations

from math import comb

import numpy as np
from jaxtyping import Float, Shaped

from workbench.statistics.clusters import cluster_ids

_TRIES = 8
"""Deals of which the one is taken whose count of positives is nearest to that of the labels."""


def dealt_labels(
    labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None, count: int, seed: int
) -> Shaped[np.ndarray, "k n"]:
    """Draws of labels that could as well have been, if they have nothing to do with what is labelled.

    A permutation decides which cluster gets the labels of which. A row gets the label of the row that is as far into the other
    cluster, so a cluster whose rows agree gives labels that agree. Where clusters have different lengths the number of positives
    differs from draw to draw; of eight permutations the one with the nearest number is taken. With one row a cluster this is a
    permutation of the rows.

    Args:
        labels: ``[n]``, without unknown ones; rows of a cluster in their order.
        clusters: ``[n]``; None makes every row its own.
        count: Draws k.
        seed: Of the draws.

    Returns:
        ``[k, n]``, of the type of the labels.

    Assumes clusters that are exchangeable whatever their length. Source: permutation tests of clusters, as in Gail, Mark,
    Carroll, Green and Pee (1996), "On design considerations and randomization-based inference for community intervention trials".
    """
    ids, n_clusters = cluster_ids(clusters, len(labels))
    order = np.argsort(ids, kind="stable")
    lengths = np.bincount(ids, minlength=n_clusters)
    starts = np.cumsum(lengths) - lengths
    sorted_labels, sorted_ids = labels[order], ids[order]
    place = (np.arange(len(labels)) - starts[sorted_ids] + 0.5) / lengths[sorted_ids]
    rng = np.random.default_rng(seed)
    tries = 1 if (lengths == lengths[0]).all() else _TRIES
    found = np.empty((count, len(labels)), dtype=labels.dtype)
    for number in range(count):
        other = np.stack([rng.permutation(n_clusters) for _ in range(tries)])[:, sorted_ids]
        drawn = sorted_labels[starts[other] + (place * lengths[other]).astype(np.int64)]
        off = np.abs(drawn.sum(axis=1) - labels.sum())
        found[number, order] = drawn[off.argmin()]
    return found


def arrangements(labels: Shaped[np.ndarray, " n"], clusters: Shaped[np.ndarray, " n"] | None) -> float:
    """In how many ways labels can be dealt out that are constant within clusters; infinite where those of a cluster differ.

    No p value of a permutation test is below one over it: with 15 clusters of which 7 are positive, 1 / 6,435.
    """
    ids, n_clusters = cluster_ids(clusters, len(labels))
    share: Float[np.ndarray, " g"] = np.bincount(ids, weights=labels, minlength=n_clusters) / np.bincount(
        ids, minlength=n_clusters
    )
    constant = bool(((share == 0) | (share == 1)).all())
    ways = comb(n_clusters, int((share == 1).sum())) if constant else 0
    # Beyond what a float holds, the number makes no difference.
    return float(ways) if constant and ways < 10**300 else np.inf
