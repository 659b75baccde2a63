"""The section of a run in a report: what it measured, its views, figures and tables."""

from __future__ import annotations

from typing import Any

from workbench.analysis import find_analysis
from workbench.frames import records, where
from workbench.measurements import corrections, first_of_each, shown_of
from workbench.registry import declared_metrics
from workbench.reports.drawn import drawn
from workbench.reports.parts import each, figure_html
from workbench.statistics.rows import SHOWN
from workbench.store.run_kinds import HEAD_EDIT
from workbench.store.runs import Run
from workbench.views import TableView, View

ROWS = 12
"""Of each metric of a run, and of each table."""
WHERE = ("site", "label", "class")


def run_section(run: Run, out: Any) -> dict[str, Any]:
    """What the template needs of a run; ``out`` is `LeftOut.unless_broken`."""
    title, about = _about(run)
    views: list[View] = out(f"the views of run {run.id}", lambda: run.views, [])
    in_views = {view.table for view in views if isinstance(view, TableView)}
    declared = {metric.key: metric for metric in declared_metrics(run.analysis)}
    table = run.metrics
    shown = table[where(table["metric"], lambda k: k in declared and declared[k].shown)]
    shown = shown.dropna(subset="value")
    rows = first_of_each(shown, declared, ROWS)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *WHERE, *SHOWN])))
    rows = rows.assign(**{column: rows[column].astype(object).fillna("") for column in WHERE})
    return {
        "run": run,
        "title": title,
        "about": about,
        "metrics": [declared[k] for k in dict.fromkeys(rows["metric"])] if len(rows) else [],
        "rows": records(rows),
        "sentences": [*filter(None, [shown_of(shown, rows, declared)]), *corrections(rows, declared)],
        "edits": run.edits.sentence,
        "total": len(table),
        "remarks": run.remarks,
        "views": each(
            views,
            lambda view: f"the view '{view.title}' of run {run.id}",
            lambda view: (view, drawn(view, run)),
            out,
            True,
        ),
        "tables": each(
            [name for name in run.own_tables if name not in in_views],
            lambda name: f"the table '{name}' of run {run.id}",
            lambda name: (name, *_first(run, name)),
            out,
            True,
        ),
        "figures": each(
            list(run.figures),
            lambda name: f"figure {name} of run {run.id}",
            lambda name: figure_html(run.figures[name]),
            out,
            True,
        ),
    }


def _about(run: Run) -> tuple[str, str]:
    """What a run is called, and a sentence on it."""
    if run.analysis == HEAD_EDIT:
        about = f"The head '{run.config['head']}' of run {run.config['run']} with other weights; see Provenance for which."
        return "Edit of a head", about
    analysis = find_analysis(run.analysis)
    return analysis.title, (analysis.__doc__ or "").strip()


def _first(run: Run, name: str) -> tuple[list[str], list[list[Any]], bool]:
    """The columns of a table of an analysis, its first rows, and whether there are more."""
    table, more = run.tables.first(name, ROWS)
    return [str(column) for column in table], table.astype(object).to_numpy().tolist(), more
