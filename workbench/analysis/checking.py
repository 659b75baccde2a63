"""What an analysis may read and return, seen to before anything is recorded: nothing is accepted that nobody would find again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError
from workbench.paths import is_name
from workbench.store.kinds import MADE

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.analysis.contract import Analysis, Result

LEVELS = ("token", "example")


def check_sites(analysis: Analysis, acts: ActivationSet) -> None:
    """See that an analysis of one site gets one.

    Raises:
        ConfigError: The activations have several.
    """
    if analysis.one_site and len(acts.sites) != 1:
        sites = ", ".join(str(site) for site in acts.sites)
        raise ConfigError(f"{analysis.title} reads one site, and these activations have {sites}: use acts.at(site).")


def checked(analysis: Analysis, result: Result, acts: ActivationSet) -> Result:
    """The result, when everything in it has a name that is free and declared, and its concepts are at sites that were read.

    Raises:
        ConfigError: Something has not; all that is wrong is named.
    """
    wrong = [*_names(result), *_metrics(analysis, result), *_concepts(result, {str(site) for site in acts.sites})]
    if wrong:
        raise ConfigError(f"What {analysis.name} returned cannot be recorded: {'; '.join(wrong)}.")
    return result


def _names(result: Result) -> list[str]:
    several: dict[str, dict[str, Any]] = {"table": result.tables, "tensor": result.tensors, "figure": result.figures}
    wrong = [
        f"a {what} is called {name!r}, which is no name of a file"
        for what, named in several.items()
        for name in named
        if not (isinstance(name, str) and is_name(name))
    ]
    return wrong + [f"the table name '{name}' is taken by the workbench itself" for name in result.tables if name in MADE]


def _metrics(analysis: Analysis, result: Result) -> list[str]:
    if result.metrics is None:
        return []
    if lacking := [column for column in ("metric", "value") if column not in result.metrics]:
        return [f"its metrics lack the column '{lacking[0]}'"] if len(result.metrics) else []
    declared = {metric.key for metric in analysis.metrics}
    unknown = sorted({str(key) for key in result.metrics["metric"]} - declared)
    shown = ", ".join(repr(key) for key in unknown[:12])
    return [f"its metrics {shown} are not among those that it declares"] if unknown else []


def _concepts(result: Result, read: set[str]) -> list[str]:
    wrong = [f"it has concepts at {found.site}, which it did not read" for found in result.concepts if found.site not in read]
    return wrong + [
        f"the level of its concepts at {found.site} is {found.level!r}, not 'token' or 'example'"
        for found in result.concepts
        if found.level not in LEVELS
    ]
