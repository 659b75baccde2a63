"""Failed measurements: each becomes a row with its reason, and the rest of the run is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workbench.errors import WorkbenchError

CANNOT_MEASURE = (WorkbenchError, MemoryError, RuntimeError, OSError)
"""Exceptions that make a measurement fail, such as a missing model, data or memory. Any other is a bug and ends the run."""


def reason(error: BaseException) -> str:
    """Why something could not be done, as one text."""
    text = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"
    return text[:2000]


def failed_rows(metrics: Sequence[str], error: BaseException, **common: Any) -> list[dict[str, Any]]:
    """A failed row for each of some metrics, with the reason; ``common`` is in each of them."""
    nothing = float("nan")
    return [common | {"metric": key, "value": nothing, "status": "failed", "error": reason(error)} for key in metrics]


def measured(metrics: Sequence[str], work: Callable[[], list[dict[str, Any]]], **common: Any) -> list[dict[str, Any]]:
    """The rows that ``work`` returns, or failed rows of these metrics if it raises one of `CANNOT_MEASURE`."""
    try:
        return [common | row for row in work()]
    except CANNOT_MEASURE as error:
        return failed_rows(metrics, error, **common)
