"""The one way to write a measured row: a value never stands without its null, or the reason why it has none."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

from workbench.errors import ConfigError
from workbench.statistics.clusters import ENOUGH

P_VALUES = ("p", "p_corrected")
COUNTS = ("n", "clusters", "clusters_positive")
SHOWN = ("value", "low", "high", "null", "null_high", *P_VALUES, *COUNTS)
"""The columns of a measurement, in the order in which tables show them."""


@dataclass(frozen=True)
class Null:
    """What a value would read if there were nothing to find.

    Attributes:
        value: Its expectation.
        high: Its 95th percentile, of the size where the value has a sign.
        p: Raw p value of the value against it; nan where none is claimed.
        family: Which p values are corrected together; empty without a p.
        p_corrected: Holm's over that family, once all of it is known.
    """

    value: float = math.nan
    high: float = math.nan
    p: float = math.nan
    family: str = ""
    p_corrected: float = math.nan


@dataclass(frozen=True)
class NoNull:
    """Why a value has no null: it is a setting, or a count, or its null is a row of its own."""

    reason: str


def row(
    metric: str,
    value: float,
    null: Null | NoNull,
    *,
    n: int,
    low: float = math.nan,
    high: float = math.nan,
    clusters: int | None = None,
    clusters_positive: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A row of evidence or of metrics; failed where the value is not a number, with the note as the reason.

    An interval over fewer than `clusters.ENOUGH` clusters is left out, and the note says so; so is an end that is infinite.

    Args:
        metric: A declared key.
        value: What was measured.
        null: What stands beside it.
        n: Rows, or whatever was counted.
        low, high: Of the interval.
        clusters: Clusters of those rows; the interval and the p value are made over them.
        clusters_positive: The fewer of the clusters that hold a positive and those that hold a negative.
        more: Further columns: ``label``, ``site``, ``note`` and so on.

    Raises:
        ConfigError: A p value without its family.
    """
    if not math.isfinite(value):
        why = str(more.get("note") or "the value is not a finite number")
        return more | {"metric": metric, "status": "failed", "error": why, "n": n}
    if clusters is not None and clusters < ENOUGH and not (math.isnan(low) and math.isnan(high)):
        low = high = math.nan
        more |= {"note": more.get("note") or f"no interval: {clusters} documents, fewer than {ENOUGH}"}
    low, high = (end if math.isfinite(end) else math.nan for end in (low, high))
    found = more | {"metric": metric, "status": "ok", "value": float(value), "low": low, "high": high, "n": n}
    found |= {"clusters": clusters, "clusters_positive": clusters_positive}
    if isinstance(null, NoNull):
        return found
    if not math.isnan(null.p) and not null.family:
        raise ConfigError(f"The p value of {metric} belongs to no family: say which tests it is corrected with.")
    # A tail may be too small for a float; a p value is never 0.
    p = null.p if math.isnan(null.p) else max(null.p, sys.float_info.min)
    return found | {
        "null": null.value, "null_high": null.high, "p": p, "p_corrected": null.p_corrected, "family": null.family,
    }  # fmt: skip
