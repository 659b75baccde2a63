"""Location of labelled concepts: whether they peak where the label's span is."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from workbench.activations.labels import is_span
from workbench.evidence.attempts import Found
from workbench.evidence.family import Family, Tried
from workbench.evidence.held_out import HeldOut
from workbench.evidence.metrics import QUESTIONS, of_family
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.intervals import share_interval
from workbench.statistics.rows import Null, row


def locate(concepts_count: int, codes_nc: Float[np.ndarray, "n c"], choice: list[str], data: HeldOut) -> list[dict[str, object]]:
    """Whether concepts peak inside the span of the label they stand trial for, in examples that hold such a span.

    The null is exact: a position drawn at random lies inside with the span's share of positions.
    """
    rows: list[dict[str, object]] = []
    starts = np.searchsorted(data.segment, np.arange(len(data.examples)))
    for label in sorted(set(choice)):
        if not is_span(label):
            continue
        places = [p for p in range(concepts_count) if choice[p] == label]
        inside = data.tokens.values[:, data.tokens.names.index(label)] == 1
        holds = np.add.reduceat(inside.astype(np.int64), starts) > 0
        # Copies of a text say the same twice.
        use = (holds & data.first_of_copies)[data.segment]
        if not use.any():
            continue
        z, within = codes_nc[use][:, places], inside[use]
        kept, segment = np.unique(data.segment[use], return_inverse=True)
        rows += location_rows(places, label, z, within, segment, data.documents[kept])
    return rows


def location_rows(
    places: list[int],
    label: str,
    z: Float[np.ndarray, "n c"],
    within: np.ndarray,
    segment: Int[np.ndarray, "n"],
    documents: Int[np.ndarray, "e"],
) -> list[dict[str, object]]:
    """Pointing and overlap of some concepts in examples that hold the span.

    Args:
        places: Of the concepts in their set, as the rows name them.
        label: Of the span.
        z: ``[n, c]`` codes, example by example.
        within: ``[n]``, whether a row lies in the span.
        segment: ``[n]``, which example a row belongs to, from 0.
        documents: ``[e]``, the cluster of each example.
    """
    starts = np.searchsorted(segment, np.arange(segment.max() + 1))
    peak = np.maximum.reduceat(z, starts, axis=0)
    at_peak = z >= peak[segment]
    # Where a concept is flat over an example (a latent that does not fire) every position is its peak: it scores the share.
    hit = np.add.reduceat(at_peak & within[:, None], starts, axis=0) / np.add.reduceat(at_peak, starts, axis=0)
    share = np.add.reduceat(within.astype(float), starts) / np.diff(np.append(starts, len(segment)))
    positive = np.maximum(z, 0)
    total = np.add.reduceat(positive, starts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = np.add.reduceat(positive * within[:, None], starts, axis=0) / total
    rows: list[dict[str, object]] = []
    for i, place in enumerate(places):
        for metric, values in (("locates.pointing", hit[:, i]), ("locates.overlap", overlap[:, i])):
            found = np.isfinite(values)
            common: dict[str, Any] = {"place": place, "label": label}
            if found.sum() < 2:
                reason = "it is not present in two held-out examples that hold the span"
                rows.append({**common, "metric": metric, "status": "failed", "error": reason})
                continue
            clusters = documents[found]
            count = len(np.unique(clusters))
            low, high, null_high, note = np.nan, np.nan, np.nan, f"no interval: {count} documents, fewer than {ENOUGH}"
            null = float(share[found].mean())
            if count >= ENOUGH:
                interval = share_interval(values[found][:, None], clusters)
                low, high, note = interval.low[0], interval.high[0], ""
                # The sum of independent coin tosses, one an example, each with its own share.
                null_high = null + norm.ppf(0.95) * float(np.sqrt((share[found] * (1 - share[found])).sum()) / found.sum())
            known: dict[str, Any] = {"n": int(found.sum()), "clusters": count, "note": note}
            rows.append(row(metric, values[found].mean(), Null(null, null_high), low=low, high=high, **common, **known))
    return rows


class Locates(Family):
    """Whether a concept peaks where its label is."""

    name = "locates"
    question = QUESTIONS["locates"]
    metrics = of_family("locates")

    def measure(self, tried: Tried) -> Found:
        """Of concepts that are read at positions."""
        if not tried.test.by_position or tried.concepts.level == "example":
            return [], {}
        tried.progress(1, 5, f"location at {tried.concepts.site}")
        return locate(len(tried.concepts), tried.detection.codes, tried.detection.choice, tried.test), {}
