"""Verdicts on measurements as sentences, the same in the app, a report and a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from workbench.metrics import Metric
from workbench.numbers import p_value
from workbench.statistics.correction import ALPHA


class Verdict(NamedTuple):
    """Whether a value is beyond its null, None where that cannot be told, and the sentence that says so."""

    beyond: bool | None
    sentence: str


def verdict(row: Mapping[str, Any], metric: Metric) -> Verdict:
    """Judge a row of evidence or of metrics whose status is ok.

    Args:
        row: ``value`` and any of ``low, high, null, null_high, p, p_corrected, family, note``.
        metric: What was measured.
    """
    note = str(row.get("note") or "")
    if (p := _get(row, "p")) is not None:
        found = _tested(p, _get(row, "p_corrected"), str(row.get("family") or "the tests made together"))
        return found._replace(sentence=f"{found.sentence} {note[0].upper()}{note[1:]}.") if note else found
    if note:
        return Verdict(None, f"Not tested: {note.removeprefix('no interval and no p value: ').removeprefix('no p value: ')}.")
    value = abs(row["value"]) if metric.direction == "none" else row["value"]
    if metric.direction != "down" and _get(row, "null_high") is not None:
        return _against_percentile(value, row, metric)
    return _against_mean(value, _get(row, "null"), metric)


def _tested(p: float, corrected: float | None, family: str) -> Verdict:
    if (p if corrected is None else corrected) <= ALPHA:
        after = "not corrected for other tests" if corrected is None else f"after Holm's correction over {family}"
        return Verdict(True, f"Significant at 5%, {after}.")
    if corrected is not None and p <= ALPHA:
        return Verdict(False, f"Not significant after Holm's correction over {family}; uncorrected, p is {p_value(p)}.")
    return Verdict(False, "Not significant at 5%.")


def _against_mean(value: float, null: float | None, metric: Metric) -> Verdict:
    if null is None:
        return Verdict(None, "There is no null to judge it by.")
    if (null - value if metric.direction == "down" else value - null) <= 0:
        return Verdict(False, "No better than the mean of its null.")
    return Verdict(None, "Better than the mean of its null; how far the null varies was not measured.")


def _against_percentile(value: float, row: Mapping[str, Any], metric: Metric) -> Verdict:
    if value <= row["null_high"]:
        return Verdict(False, "Not above the 95th percentile of its null.")
    low = _get(row, "low")
    if metric.direction == "up" and low is not None and low <= row["null_high"]:
        return Verdict(None, "Above the 95th percentile of its null, but its interval reaches below it.")
    return Verdict(True, "Above the 95th percentile of its null.")


def _get(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    return None if value is None or pd.isna(value) else float(value)
