"""Checks of the tables of a run that the workbench itself reads: required columns, and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import DataError
from workbench.paths import shown
from workbench.statistics.rows import SHOWN

if TYPE_CHECKING:
    import pandas as pd

MADE = frozenset(
    {
        "metrics", "summary", "examples", "histogram", "tokens", "effects", "failed", "evidence", "curves", "detection", "labels",
        "pairs",
    }
)  # fmt: skip
"""Names of tables that the workbench makes itself: no analysis may take them."""
_NEEDED: dict[str, tuple[str, ...]] = {
    "metrics": ("metric", "value"),
    "summary": ("number", "density", "mean", "deviation", "top"),
    "histogram": ("number", "left", "right", "count"),
    "examples": ("number", "example", "position", "token", "value", "rank"),
    "evidence": ("concept", "metric", "status", "value"),
    "curves": ("concept",),
    "detection": ("concept",),
    "labels": ("concept",),
    "pairs": ("concept", "other"),
}
"""Required columns by table. Other tables of an analysis are not checked."""
_TEXTS = frozenset(
    {"concept", "other", "metric", "status", "site", "note", "error", "family", "method", "other_method", "verdict"}
)
_NUMBERS = frozenset(SHOWN) | {
    "number", "density", "mean", "deviation", "top", "left", "right", "count", "rank", "example", "position", "dose", "norm",
    "logit", "logit_low", "logit_high", "null_low", "output", "output_null_high", "cosine", "cosine_null_high", "cofiring",
    "cofiring_low", "cofiring_high", "cofiring_null_high", "validation", "test",
}  # fmt: skip


_LABELS = frozenset({"label", "class"})
_FINITE = frozenset({"left", "right", "count"})


def require_kinds(name: str, table: pd.DataFrame, run: str) -> pd.DataFrame:
    """Return the table if its columns have the right types.

    Args:
        name: What it is called in its run.
        table: Some or all of its rows.
        run: The run's id, for the error.

    Raises:
        DataError: A column is missing, or holds something else than it should.
    """
    if name in _NEEDED:
        missing = next((column for column in _NEEDED[name] if column not in table.columns), None)
        if missing is not None:
            raise DataError(
                f"The table '{name}' of the run {run} lacks the column '{missing}': `workbench study repair` drops it."
            )
        for column in table.columns:
            if problem := _problem(str(column), table[column]):
                raise DataError(
                    f"The table '{name}' of the run {run} holds {problem} in the column {shown(str(column))}:"
                    " `workbench study repair` drops it."
                )
    return table


def _problem(column: str, values: pd.Series) -> str:
    """What is wrong with the values of a column, or an empty text. A column with no values at all may have any type."""
    from pandas.api.types import infer_dtype, is_numeric_dtype

    if not values.notna().any():
        return ""
    if column in _NUMBERS and not is_numeric_dtype(values):
        return "no numbers"
    if column in _FINITE and not np.isfinite(values.to_numpy(float)).all():
        return "numbers that are not finite"
    if column in _TEXTS and infer_dtype(values, skipna=True) != "string":
        return "something else than texts"
    if column in _LABELS and infer_dtype(values, skipna=True) == "mixed":
        return "something else than texts or numbers"
    return ""
