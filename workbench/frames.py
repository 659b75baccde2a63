"""Small helpers for pandas frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries with text keys."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))


def where(column: pd.Series, holds: Callable[[Any], bool]) -> pd.Series:
    """A boolean mask of the values for which a condition holds; boolean also for an empty column, whose type pandas would
    keep."""
    return column.map(holds).astype(bool)
