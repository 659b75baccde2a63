"""What an analysis may read and return, seen to before anything is recorded: nothing is accepted that nobody would find again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.analysis.contract import Result
from workbench.errors import ConfigError
from workbench.metrics import QUESTIONS
from workbench.paths import is_name
from workbench.shapes import ShapeError
from workbench.statistics.rows import COUNTS, P_VALUES, SHOWN
from workbench.store.kinds import MADE
from workbench.views import AbsentView, View
from workbench.views.view import MOST_VIEWS

if TYPE_CHECKING:
    import pandas as pd

    from workbench.activations import ActivationSet
    from workbench.analysis.contract import Analysis

LEVELS = ("token", "example")
OF_EVIDENCE = frozenset({"place", "metric", "label", "status", *SHOWN, "family", "note", "error"})
"""Columns of a method's own evidence; which concept, run and data set it is of, the workbench writes itself."""


def check_sites(analysis: Analysis, acts: ActivationSet) -> None:
    """See that an analysis of one site gets one.

    Raises:
        ConfigError: The activations have several.
    """
    if analysis.one_site and len(acts.sites) != 1:
        sites = ", ".join(str(site) for site in acts.sites)
        raise ConfigError(f"{analysis.title} reads one site, and these activations have {sites}: use acts.at(site).")


def checked(analysis: Analysis, result: Result, acts: ActivationSet) -> Result:
    """The result, when everything in it has a name that is free and declared, and holds what can be read again.

    Raises:
        ConfigError: Something has not; all that is wrong is named.
    """
    if not isinstance(result, Result):
        raise ConfigError(f"What {analysis.name} returned is no Result but a {type(result).__name__}.")
    wrong = [
        *_names(result), *_metrics(analysis, result, acts), *_evidence(analysis, result), *_concepts(result, acts),
        *_heads(result), *_views(result), *_edits(result, acts),
    ]  # fmt: skip
    if wrong:
        raise ConfigError(f"What {analysis.name} returned cannot be recorded: {'; '.join(wrong)}.")
    return result


def _names(result: Result) -> Iterator[str]:
    import pandas as pd
    from torch import Tensor

    from workbench.concepts import Graph, Head
    from workbench.edits import Edit
    from workbench.models.small import SmallModel

    several: list[tuple[str, dict[str, Any], Callable[[Any], bool]]] = [
        ("table", result.tables, lambda value: isinstance(value, pd.DataFrame)),
        ("tensor", result.tensors, lambda value: isinstance(value, Tensor) and not value.is_sparse),
        ("figure", result.figures, lambda value: hasattr(value, "to_json")),
        ("fitted edit", result.edits, lambda value: isinstance(value, Edit)),
        ("graph", result.graphs, lambda value: isinstance(value, Graph)),
        ("head", result.heads, lambda value: isinstance(value, Head)),
        ("model", result.models, lambda value: isinstance(value, SmallModel)),
    ]
    for what, named, fits in several:
        lower: set[str] = set()
        for name, value in named.items():
            if not (isinstance(name, str) and is_name(name)):
                yield f"a {what} is called {name!r}, which is no name of a file"
            elif what == "table" and name.lower() in MADE:
                yield f"the table name '{name}' is taken by the workbench itself"
            elif name.lower() in lower:
                yield f"two {what}s are called '{name}', which are one file on some systems"
            elif not fits(value):
                yield f"the {what} '{name}' is a {type(value).__name__}"
            lower.add(str(name).lower())


def _metrics(analysis: Analysis, result: Result, acts: ActivationSet) -> Iterator[str]:
    table = result.metrics
    if table is None or not len(table):
        return
    yield from (problems := list(_columns(analysis, table, "metrics", ("metric", "value"))))
    if problems:
        return
    read = {str(site) for site in acts.sites}
    if "site" in table and (elsewhere := {str(site) for site in table["site"].dropna() if site} - read):
        yield f"a metric is of {min(elsewhere)}, which it did not read"
    yield from _numbers(table, "metrics")


def _columns(analysis: Analysis, table: pd.DataFrame, what: str, needed: tuple[str, ...]) -> Iterator[str]:
    """Which columns a table of measurements lacks, and which of its metrics the analysis does not declare."""
    if lacking := [column for column in needed if column not in table]:
        yield f"its {what} lack the column '{lacking[0]}'"
    elif unknown := sorted({str(key) for key in table["metric"]} - {metric.key for metric in analysis.metrics}):
        yield f"its {what} {', '.join(repr(key) for key in unknown[:12])} are not among the metrics that it declares"


def _evidence(analysis: Analysis, result: Result) -> Iterator[str]:
    table = result.evidence
    if table is None or not len(table):
        return
    yield from (problems := list(_columns(analysis, table, "evidence", ("place", "metric", "value"))))
    if problems:
        return
    if more := sorted(map(str, set(table) - OF_EVIDENCE)):
        yield f"its evidence has a column {more[0]!r}, which no evidence has"
    if tried := sorted({str(key) for key in table["metric"] if str(key).partition(".")[0] in QUESTIONS}):
        yield f"its evidence {tried[0]!r} is called as the trial's own is"
    total = sum(map(len, result.concepts))
    if any(isinstance(place, float) or place not in range(total) for place in table["place"].tolist()):
        yield f"its evidence is of other concepts than the {total} that it returned: number them in 'place' from 0"
    if table.reindex(columns=["place", "metric", "label"]).fillna("").duplicated().any():
        yield "it has two rows of evidence of one concept, metric and label"
    yield from _numbers(table, "evidence")


def _numbers(table: pd.DataFrame, what: str) -> Iterator[str]:
    """What is wrong with the columns of numbers of a table of measurements."""
    import pandas as pd

    status = table["status"].fillna("ok") if "status" in table else pd.Series("ok", index=table.index)
    if strange := sorted(map(str, set(status) - {"ok", "failed"})):
        yield f"a status of its {what} is '{strange[0]}', not 'ok' or 'failed'"
    numbers = {column: pd.to_numeric(table[column], errors="coerce") for column in SHOWN if column in table}
    for column, values in numbers.items():
        if (values.isna() & table[column].notna()).any() or values.abs().eq(float("inf")).any():
            yield f"the column '{column}' of its {what} holds what is no finite number"
        elif column in P_VALUES and not values.dropna().between(0, 1).all():
            yield f"the column '{column}' of its {what} holds what is no probability"
        elif column in COUNTS and (values.dropna() < 0).any():
            yield f"the column '{column}' of its {what} holds a count below 0"
    if numbers["value"][status.eq("ok")].isna().any():
        yield f"a row of its {what} has no value, and its status is not 'failed'"
    if {"low", "high"} <= set(numbers) and (numbers["low"] > numbers["high"]).any():
        yield f"an interval of its {what} ends below where it begins"


def _heads(result: Result) -> Iterator[str]:
    import torch

    from workbench.concepts import Head

    total = sum(map(len, result.concepts))
    for name, head in result.heads.items():
        if not isinstance(head, Head):
            continue
        facts = head.facts
        if max(facts.concepts) >= total:
            yield f"the head '{name}' reads concept {max(facts.concepts)} of {total}"
            continue
        try:
            head.require_whole()
        except ShapeError as error:
            yield f"of the head '{name}' {error}"
            continue
        if not len(result.concepts) or head.weights is None:
            continue
        found = tuple(head.predict(torch.zeros(1, len(facts.concepts))).shape)
        if found != (1, len(facts.outputs)):
            yield f"the head '{name}' predicts {list(found)} of one row, and it has {len(facts.outputs)} outputs"


def _views(result: Result) -> Iterator[str]:
    if len(result.views) > MOST_VIEWS:
        yield f"it has {len(result.views)} views, more than {MOST_VIEWS}"
    made = {"metrics": result.metrics, "evidence": result.evidence}
    there = replace(result, tables=result.tables | {name: table for name, table in made.items() if table is not None})
    for view in result.views:
        if not isinstance(view, View) or isinstance(view, AbsentView):
            yield f"one of its views is a {type(view).__name__}"
        elif problem := view.problem(there):
            yield f"the view '{view.title}' cannot be drawn: {problem}"


def _concepts(result: Result, acts: ActivationSet) -> Iterator[str]:
    import torch

    read = {str(site) for site in acts.sites}
    for found in result.concepts:
        if not {found.site, *found.reads} <= read:
            yield f"it has concepts at {found.site}, which it did not read"
            continue
        width = acts.at(found.site).width()
        if found.level not in LEVELS:
            yield f"the level of its concepts at {found.site} is {found.level!r}, not 'token' or 'example'"
        if not len(found):
            yield f"its set at {found.site} has no concepts"
        elif found.width != width:
            yield f"its concepts at {found.site} are {found.width} wide, and the activations {width}"
        elif not torch.isfinite(found.directions()).all():
            yield f"a direction of its concepts at {found.site} is not finite"


def _edits(result: Result, acts: ActivationSet) -> Iterator[str]:
    """What is wrong with the fitted edits: they must be made again from what is stored, and fit the site that they are at."""
    import torch
    from torch import Tensor

    from workbench.edits import Edit
    from workbench.edits.kinds import is_kind, make_edit

    read = {str(site) for site in acts.sites}
    for name, edit in result.edits.items():
        if not isinstance(edit, Edit):
            continue
        if not is_kind(edit.kind):
            yield f"the edit '{name}' is made from a function: declare its kind with workbench.edits.edit_kind"
        elif not all(value is None or isinstance(value, Tensor | bool | int | float | str) for value in edit.arguments.values()):
            yield f"the edit '{name}' holds other arguments than tensors, numbers and texts"
        elif not {str(edit.site), *map(str, edit.reads)} <= read:
            yield f"the edit '{name}' is at {edit.site}, which it did not read"
        else:
            try:
                again = make_edit(edit.kind, edit.site, edit.arguments)
                rows = {site: torch.zeros(1, 2, acts.at(site).width()) for site in (edit.site, *edit.reads)}
                changed = again.at(None, special=True)(rows[edit.site], seen=rows)
            except Exception as error:
                yield f"the edit '{name}' cannot be made again from its arguments and applied at {edit.site} ({error})"
                continue
            if again.kind != edit.kind or changed.shape != rows[edit.site].shape or not torch.isfinite(changed).all():
                yield f"the edit '{name}' does not give finite rows of the width of {edit.site}"
