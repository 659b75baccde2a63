"""Concept activation vectors, and those of random sets fitted the same way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes import estimate_directions
from workbench.evidence.samples import Sample
from workbench.progress import Progress, silent
from workbench.statistics.auroc import clustered_auroc
from workbench.statistics.clusters import Counts, count_clusters
from workbench.statistics.dealing import arrangements, dealt_labels
from workbench.statistics.rows import Null, row

Estimator = Literal["logistic", "pattern", "mean_difference", "svm", "ridge"]

POOL_ROWS = 12_000
_CELLS = 1 << 24
"""Labels of concepts and random sets that are fitted at once: 64 MiB of float32."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of one site and level, and what their test rests on.

    Attributes:
        labels: One a vector.
        weights: ``[c, d]``.
        bias: ``[c]``.
        random: ``[c, r, d]``: vectors of the random sets of each concept.
        counts: Clusters with and without each concept among the rows that it was fitted to.
        rows: ``[c]``: how many rows those are.
        arrangements: ``[c]``: in how many ways their labels can be dealt out among the clusters.
        level: ``token`` or ``example``.
        metrics: Rows of ``cav.auroc``.
    """

    labels: list[str]
    weights: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, "c"]
    random: Float[np.ndarray, "c r d"]
    counts: Counts
    rows: Int[np.ndarray, "c"]
    arrangements: Float[np.ndarray, "c"]
    level: str = "token"
    metrics: list[dict[str, Any]] = field(default_factory=list)


def fit_sample(sample: Sample, estimator: Estimator, *, per_side: int, sets: int, seed: int) -> Vectors:
    """Fit every label of a sample, each with its random sets; see :func:`fit_sets`."""
    found = fit_sets(
        sample.x_train, sample.y_train, sample.clusters_train, estimator,
        per_side=per_side, sets=sets, seed=seed, progress=sample.progress,
    )  # fmt: skip
    metrics = _metrics(sample, sample.x_test @ found.weights.T)
    return replace(found, labels=sample.labels, level=sample.level, metrics=metrics)


def fit_sets(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n c"],
    clusters: Shaped[np.ndarray, " n"] | None,
    estimator: Estimator = "logistic",
    *,
    per_side: int = 200,
    sets: int = 59,
    seed: int = 0,
    progress: Progress = silent,
) -> Vectors:
    """Fit every column of labels, and its random sets.

    A random set of a concept has the rows of that concept, whose labels were dealt out anew among their clusters: as many
    positives and negatives, running along the text as those of the concept do, and fitted by the same estimator. If the concept
    has nothing to do with the activations, it is one of its own random sets.

    Args:
        x: ``[n, d]``.
        y: ``[n, c]`` of 1, 0 and nan.
        clusters: ``[n]``, the document of each row; None makes every row its own.
        estimator: See `probes.estimate_directions`.
        per_side: Rows with and without the concept that are drawn to fit from.
        sets: Random sets a concept.
        seed: Of rows and deals.
        progress: Called with ``(done, total, text)``.
    """
    rng = np.random.default_rng(seed)
    chosen = _chosen(y, per_side, rng)
    used = ~np.isnan(chosen).all(axis=1)
    x, chosen = x[used], chosen[used]
    clusters = np.arange(len(x)) if clusters is None else np.asarray(clusters)[used]
    count, width = y.shape[1], x.shape[1]
    weights, bias, random = np.empty((count, width)), np.empty(count), np.empty((count, sets, width), dtype=np.float32)
    ways, step = np.empty(count), max(1, _CELLS // (len(x) * (sets + 1)))
    for begin in range(0, count, step):
        part = range(begin, min(begin + step, count))
        dealt = np.full((len(x), len(part), sets + 1), np.nan, dtype=np.float32)
        for place, column in enumerate(part):
            # Dealing the labels of the random sets takes longer than fitting all of a block.
            progress(begin + (2 * place) // 3, count, f"random sets of {count:,} labels")
            known = ~np.isnan(chosen[:, column])
            label = chosen[known, column]
            dealt[known, place, 0] = label
            dealt[known, place, 1:] = dealt_labels(label, clusters[known], sets, int(rng.integers(2**32))).T
            ways[column] = arrangements(label, clusters[known])
        y_part = dealt.reshape(len(x), -1)
        found = estimate_directions(x, y_part, estimator, C=0.02, seed=seed, max_iter=300)
        fitted = found.weights.reshape(len(part), sets + 1, width)
        weights[part], bias[part] = fitted[:, 0], found.intercepts.reshape(len(part), sets + 1)[:, 0]
        random[part] = fitted[:, 1:]
    rows = (~np.isnan(chosen)).sum(axis=0)
    return Vectors([str(i) for i in range(count)], weights, bias, random, count_clusters(chosen, clusters), rows, ways)


def _chosen(y: Float[np.ndarray, "n c"], per_side: int, rng: np.random.Generator) -> Float[np.ndarray, "n c"]:
    out = np.full_like(y, np.nan)
    for column in range(y.shape[1]):
        for value in (1.0, 0.0):
            rows = rng.permutation(np.flatnonzero(y[:, column] == value))[:per_side]
            out[rows, column] = value
    return out


def _metrics(sample: Sample, margins: Float[np.ndarray, "m c"]) -> list[dict[str, Any]]:
    area = clustered_auroc(margins, sample.y_test, sample.clusters_test)
    low, high = area.interval()
    known = (~np.isnan(sample.y_test)).sum(0)
    fewer = np.minimum(area.counts.positive, area.counts.negative)
    return [
        row(
            "cav.auroc", area.value[i], Null(0.5), n=int(known[i]), low=low[i], high=high[i],
            clusters=int(area.counts.every[i]), clusters_positive=int(fewer[i]), label=label,
            note=_note(label, area.counts.reason(i)),
        )
        for i, label in enumerate(sample.labels)
    ]  # fmt: skip


def _note(label: str, reason: str) -> str:
    return f"'{label}' has {reason}" if reason else ""
