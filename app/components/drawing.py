"""The views of a run, one drawer a kind; whatever a method is called, it needs no page."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.charts import chart
from app.components.head_editor import head_editor
from app.components.page import empty, heading, sentences, small_lines
from app.components.text import short
from workbench.reports.drawn import images_html, tokens_html
from workbench.store.runs import Run
from workbench.views import AbsentView, FigureView, HeadView, ImagesView, TableView, TokensView, View, drawing

ROWS_SHOWN = 500
NUMBERS = "biufM"
"""Kinds of columns that are shown as they are; all others may hold any text."""


def views(run: Run) -> set[str]:
    """Draw the views of a run in their order; the names of the tables that they show."""
    for number, view in enumerate(run.views):
        heading(view.title, view.about)
        with sentences():
            view.require(run)
            draw(view, run, f"view {run.id} {number}")
    return {view.table for view in run.views if isinstance(view, TableView)}


def draw(view: View, run: Run, key: str) -> None:
    """One view, of parts that are there; ``key`` makes its widgets unlike those of others."""
    if isinstance(view, HeadView):
        head_editor(run, view.head, key)
    elif isinstance(view, AbsentView):
        empty(view.why)
    else:
        with drawing(view):
            _drawn(view, run, key)


def _drawn(view: View, run: Run, key: str) -> None:
    if isinstance(view, FigureView):
        chart(view.figure(run), key)
    elif isinstance(view, TableView):
        table(run, view.table, list(view.columns))
    elif isinstance(view, TokensView):
        st.html(f'<div class="cw-example">{tokens_html(view, run)}</div>')
    elif isinstance(view, ImagesView):
        st.html(images_html(view, run))


def table(run: Run, name: str, columns: list[str] | None = None) -> None:
    """The first rows of a table of a run, with every text as text."""
    found, more = run.tables.first(name, ROWS_SHOWN)
    found = found[columns] if columns else found
    texts = [c for c in found if found[c].dtype.kind not in NUMBERS]
    shown = pd.DataFrame({short(c, 80): [short(v) for v in found[c]] if c in texts else found[c] for c in found})
    st.dataframe(shown, hide_index=True, placeholder="–", height=min(420, 38 + 35 * max(len(shown), 1)))
    small_lines([f"The first {ROWS_SHOWN} rows; the page Data exports them all."] if more else [])
