"""Numbers as people read them, the same in a terminal, a report and the app."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def number(value: Any) -> str:
    """A number for a reader: three decimals, three digits of what is smaller than .0005, whole numbers whole from 100 on.

    A dash stands where there is none.
    """
    if value is None or pd.isna(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(float(value))
    if math.isinf(size):
        return str(float(value))
    if size >= 1000 or (size >= 100 and float(value).is_integer()):
        return f"{value:,.0f}"
    if 0 < size < 0.0005:
        return f"{value:.3g}"
    return f"{value:.3f}" if size < 100 else f"{value:.1f}"


def count(value: Any) -> str:
    """A count, which is whole even where its column holds floats; a dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{int(value):,}"


def counted(n: int, what: str) -> str:
    """So many of something, as in ``1 run`` and ``1,024 runs``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def interval(low: Any, high: Any) -> str:
    """``low to high``, or nothing where there is no interval."""
    first, last = number(low), number(high)
    return "" if "–" in {first, last} else f"{first} to {last}"


def clusters(every: Any, rarer: Any) -> str:
    """How many clusters, and in brackets those of the rarer class where it was counted; a dash where they are not known."""
    return count(every) if count(rarer) == "–" else f"{count(every)} ({count(rarer)})"


def p_value(value: Any) -> str:
    """A p value to three decimals; never 0, which no test can give."""
    if value is None or pd.isna(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def corrected_p(p: Any, corrected: Any) -> str:
    """A corrected p value beside its raw one; where only that is there, that it was not corrected."""
    return "not corrected" if p_value(corrected) == "–" != p_value(p) else p_value(corrected)
