"""Small helpers for pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries with text keys; None where a column that is not of numbers has no value, which pandas calls nan."""
    rows = cast("list[dict[str, Any]]", frame.to_dict("records"))
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "OU" or not (missing := column.isna()).any():
            continue
        for number in missing.to_numpy().nonzero()[0]:
            rows[number][name] = None
    return rows


def where(column: pd.Series, holds: Callable[[Any], bool]) -> pd.Series:
    """A boolean mask of the values for which a condition holds; boolean also for an empty column, whose type pandas would
    keep."""
    return column.map(holds).astype(bool)
