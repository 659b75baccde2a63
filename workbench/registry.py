"""Analyses by name: those that installed packages offer, and those registered in this process.

An analysis is imported when it is asked for by name. What a study has to know of the analysis of a run is here as well, so that
the store needs nothing else of them.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from workbench.errors import UnknownNameError, WorkbenchError
from workbench.metrics import OF_HEAD_EDITS, Metric

GROUP = "concept_workbench.analyses"
_registered: dict[str, type[Any]] = {}


def add(name: str, analysis: type[Any]) -> None:
    """Offer a class under a name in this process."""
    _registered[name] = analysis


def analysis_names() -> list[str]:
    """The names of all the analyses there are; nothing is imported."""
    return sorted({*_registered, *(point.name for point in entry_points(group=GROUP))})


def find(name: str) -> type[Any]:
    """The class of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name in _registered:
        return _registered[name]
    for point in entry_points(group=GROUP):
        if point.name == name:
            loaded: type[Any] = point.load()
            return loaded
    raise UnknownNameError("analysis", name, analysis_names())


def declared_metrics(name: str) -> tuple[Metric, ...]:
    """The metrics that an analysis declares; none when it is not installed. Edits of heads are of the engine's own."""
    if name == "edit_head":
        return OF_HEAD_EDITS
    try:
        metrics: tuple[Metric, ...] = find(name).metrics
    except (WorkbenchError, ImportError):
        return ()
    return metrics


def migrated(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """The options of a stored run, by the names that they have now; as they are where its analysis is not installed."""
    return dict(find(name).migrated(config) if name in analysis_names() else config)
