"""Stability: does another seed find the concept again?"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.evidence.causes import random_directions

CONTROLS = 1000


def best_cosines(
    directions: Float[Tensor, "c d"], others: Float[Tensor, "o d"], chunk: int = 1024
) -> tuple[Float[Tensor, "c"], Tensor]:
    """Largest cosine of each direction with any of the others, and which one that is."""
    parts = [(block @ others.T).max(1) for block in directions.split(chunk)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def stability_rows(concepts: ConceptSet, replica: ConceptSet, seed: int) -> list[dict[str, object]]:
    """Cosine of each concept with its match in a run with another seed.

    A discovered concept may match any of the replica's; the null is the best match that random directions find there. A
    labelled concept is matched with the same label's; the null is a random direction's absolute cosine with it.
    """
    theirs = replica.directions()
    random = random_directions(CONTROLS, concepts.width, seed)
    any_null, _ = best_cosines(random, theirs)
    one_null = (random @ theirs[0]).abs()
    free, _ = best_cosines(concepts.directions(), theirs)
    place_of = {label: i for i, label in enumerate(replica.table["label"]) if label}
    rows: list[dict[str, object]] = []
    for place, label in enumerate(concepts.table["label"]):
        row: dict[str, object] = {"place": place, "metric": "stable.cosine", "label": label}
        if label and label not in place_of:
            rows.append(row | {"status": "failed", "error": "the run with the other seed has no concept of this label"})
            continue
        null = one_null if label else any_null
        value = float(concepts.directions()[place] @ theirs[place_of[label]]) if label else float(free[place])
        rows.append(
            row
            | {"status": "ok", "value": value, "n": 1, "null": float(null.mean())}
            | {
                "null_high": float(null.quantile(0.95)),
                "p": float((1 + (null >= value).sum()) / (1 + CONTROLS)),
            }
        )
    return rows


def cofiring(first: Float[np.ndarray, "n a"], second: Float[np.ndarray, "n b"]) -> Float[np.ndarray, "a b"]:
    """Pearson correlation of the codes of two sets on the same rows; zero where a code is constant."""

    return _standard(first).T @ _standard(second)


def cofiring_interval(
    first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n p"], cluster: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
    """95% intervals of the correlations of paired columns, rows of one cluster not being independent.

    The linearised variance of the correlation, summed over clusters, on Fisher's scale so that an interval ends within -1 and 1.
    NaN where a code is constant.
    """
    clusters, owner = np.unique(cluster, return_inverse=True)
    low, high = np.full(first.shape[1], np.nan), np.full(first.shape[1], np.nan)
    for begin in range(0, first.shape[1], 256):
        part = slice(begin, begin + 256)
        u, v = _standard(first[:, part].astype(np.float64)), _standard(second[:, part].astype(np.float64))
        r = np.clip((u * v).sum(0), -1 + 1e-9, 1 - 1e-9)
        influence = u * v - r / 2 * (np.square(u) + np.square(v))
        summed = np.zeros((len(clusters), influence.shape[1]))
        np.add.at(summed, owner, influence)
        spread = np.sqrt(np.square(summed).sum(0) * len(clusters) / max(len(clusters) - 1, 1)) / (1 - np.square(r))
        known = (np.abs(u).sum(0) > 0) & (np.abs(v).sum(0) > 0)
        low[part] = np.where(known, np.tanh(np.arctanh(r) - 1.96 * spread), np.nan)
        high[part] = np.where(known, np.tanh(np.arctanh(r) + 1.96 * spread), np.nan)
    return low, high


def _standard(z: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    z = z - z.mean(0)
    norm = np.sqrt(np.square(z).sum(0))
    return z / np.where(norm > 1e-12, norm, np.inf)
