"""Concept activation vectors, and those of random sets fitted the same way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from probes import estimate_directions
from workbench.evidence.samples import Sample, samples
from workbench.statistics.auroc import clustered_auroc

if TYPE_CHECKING:
    from analyses.concept_activation.analysis import ConceptActivation
    from workbench.analysis import Context

POOL_ROWS = 12_000


@dataclass(frozen=True)
class Vectors:
    """Vectors of one site and level.

    Attributes:
        labels: One a vector.
        weights: ``[c, d]``.
        bias: ``[c]``.
        random: Vectors of random sets, ``[r, d]``.
        level: ``token`` or ``example``.
        metrics: Rows of ``cav.auroc``.
    """

    labels: list[str]
    weights: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, "c"]
    random: Float[np.ndarray, "r d"]
    level: str
    metrics: list[dict[str, Any]]


def fit_vectors(
    options: ConceptActivation, context: Context, site: str, labels: list[str], skipped: list[dict[str, str]]
) -> Iterator[Vectors]:
    """Fit every label and every random set of a site in one solve a level.

    Labels with too few rows are appended to ``skipped``, with the reason.
    """
    for sample in samples(context, site, labels, POOL_ROWS, skipped):
        rng = np.random.default_rng(context.seed)
        chosen = _chosen(sample.y_train, options.per_side, rng)
        random = _random(len(sample.x_train), options.per_side, options.random_sets, rng)
        y = np.concatenate([chosen, random], axis=1)
        used = ~np.isnan(y).all(1)
        found = estimate_directions(sample.x_train[used], y[used], options.estimator, C=0.02, seed=context.seed, max_iter=300)
        count = len(sample.labels)
        yield Vectors(
            sample.labels,
            found.weights[:count],
            found.intercepts[:count],
            found.weights[count:],
            sample.level,
            _metrics(sample, sample.x_test @ found.weights[:count].T),
        )


def _chosen(y: Float[np.ndarray, "n c"], per_side: int, rng: np.random.Generator) -> Float[np.ndarray, "n c"]:
    out = np.full_like(y, np.nan)
    for column in range(y.shape[1]):
        for value in (1.0, 0.0):
            rows = rng.permutation(np.flatnonzero(y[:, column] == value))[:per_side]
            out[rows, column] = value
    return out


def _random(n: int, per_side: int, sets: int, rng: np.random.Generator) -> Float[np.ndarray, "n r"]:
    out = np.full((n, sets), np.nan, dtype=np.float32)
    side = min(per_side, n // 2)
    for column in range(sets):
        order = rng.permutation(n)
        out[order[:side], column] = 1.0
        out[order[side : 2 * side], column] = 0.0
    return out


def _metrics(sample: Sample, margins: Float[np.ndarray, "m c"]) -> list[dict[str, Any]]:
    area = clustered_auroc(margins, sample.y_test, sample.clusters_test)
    low, high = area.interval()
    known = (~np.isnan(sample.y_test)).sum(0)
    return [
        {
            "metric": "cav.auroc",
            "label": label,
            "value": area.value[i],
            "low": low[i],
            "high": high[i],
            "null": 0.5,
            "n": int(known[i]),
        }
        for i, label in enumerate(sample.labels)
    ]
