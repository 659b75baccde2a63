"""Evidence that may fail for lack of a model, data or memory: it becomes failed rows, and the rest of the trial is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from workbench.analysis import CANNOT_MEASURE, reason

Found = tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]
"""Evidence rows, each with the place of its concept in the set, and tables by name."""


def attempted(
    metrics: Sequence[str], places: Iterable[int], measure: Callable[[], Found], labels: Sequence[str] | None = None
) -> Found:
    """The result of ``measure``, or failed rows of these metrics for the concepts at these places if it raises."""
    try:
        return measure()
    except CANNOT_MEASURE as error:
        return failed(metrics, error, places, labels), {}


def failed(
    metrics: Sequence[str], error: Exception, places: Iterable[int], labels: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """A failed row, with the reason, of each metric for each concept; ``labels`` are those of all concepts of the set."""
    return [
        {"place": p, "metric": m, "label": labels[p] if labels else "", "status": "failed", "error": reason(error)}
        for p in places for m in metrics
    ]  # fmt: skip
