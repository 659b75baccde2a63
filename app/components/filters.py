"""What to show of the concepts, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import pandas as pd
import streamlit as st

from app.tables import evidence_metrics
from workbench.analysis import Metric
from workbench.study import Study

NAMED = {"anyone or nobody": None, "a person": "human", "a method": "method", "nobody": "nobody"}
DOWN, UP = "largest or first in the alphabet", "smallest or last in the alphabet"
FACETS = {"method": "Method", "site": "Site", "label": "Label"}


@dataclass
class Choice:
    """What was asked for.

    Attributes:
        keep: Values to keep, by column; an empty list keeps all.
        named_by: Who named it, or None for any.
        repeats: Also those of runs that repeat another with a new seed.
        least: The smallest value of a metric.
        sort: Column to sort by, or empty for the order of the search.
        ascending: Smallest first.
        metrics: Metrics to show.
    """

    keep: dict[str, list[str]] = field(default_factory=dict)
    named_by: str | None = None
    repeats: bool = False
    least: dict[str, float] = field(default_factory=dict)
    sort: str = ""
    ascending: bool = False
    metrics: list[str] = field(default_factory=list)


def known_metrics(study: Study, frame: pd.DataFrame) -> dict[str, Metric]:
    """The declared metrics that are columns of a frame: a title is told apart from those beside it, not from all there are."""
    return {key: metric for key, metric in evidence_metrics(study).items() if key in frame}


def measured(frame: pd.DataFrame, known: Mapping[str, Metric]) -> list[str]:
    """The metrics that any of the concepts has, as they are declared; unknown ones last."""
    found = [str(c) for c in frame.columns if "." in str(c)]
    return [key for key in known if key in found] + sorted(set(found) - set(known))


def spoken(key: str, known: Mapping[str, Metric]) -> str:
    """What a metric is called."""
    if key not in known:
        return key
    titles = [metric.title for metric in known.values()]
    title = known[key].title
    return title if titles.count(title) == 1 else f"{title} ({key})"


def ask(study: Study, frame: pd.DataFrame) -> Choice:
    """Draw the filters and read them. They are folded away until they are wanted."""
    known = known_metrics(study, frame)
    metrics, called = measured(frame, known), partial(spoken, known=known)
    choice = Choice()
    order = ["", "name", *metrics]
    with st.expander("Sort, filter, choose columns", icon=":material/tune:"):
        first, second = st.columns([2, 1])
        # A search has its own order; without one, what was measured and found best comes first.
        found = "relevance" in frame
        choice.sort = first.selectbox(
            "Sort by", order, index=2 if metrics and not found else 0, format_func=lambda k: _order_name(k, frame, known),
            key=f"sort {study.folder} {found}",
        )  # fmt: skip
        down = second.selectbox("Order", [DOWN, UP], disabled=not choice.sort, key=f"order {study.folder}")
        # Names from A to Z are what a person expects to come first.
        choice.ascending = (down == UP) != (choice.sort == "name")
        for column, (key, label) in zip(st.columns(3), FACETS.items(), strict=True):
            values = sorted({v for v in frame[key] if v})
            choice.keep[key] = column.multiselect(label, values, key=f"{key} {study.folder}")
        left, right = st.columns([1, 2])
        choice.named_by = NAMED[left.selectbox("Named by", list(NAMED), key=f"named {study.folder}")]
        limited = right.multiselect("Only with at least", metrics, format_func=called, key=f"least {study.folder}")
        choice.repeats = bool(frame["repeat"].any()) and left.toggle("Repeats with other seeds", key=f"repeats {study.folder}")
        for place, key in enumerate(limited):
            column = st.columns(3)[place % 3]
            chance = known[key].chance if key in known else None
            choice.least[key] = column.number_input(
                f"Smallest {called(key)}", value=chance or 0.0, step=0.05, format="%.3f", key=f"least {key} {study.folder}"
            )
        shown = [m for m in metrics if m not in known or known[m].shown]
        choice.metrics = st.multiselect("Columns", metrics, default=shown, format_func=called, key=f"columns {study.folder}")
    return choice


def chosen_rows(frame: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """The concepts that fit, in order; concepts that lack the metric come last."""
    fits = pd.Series(True, index=frame.index) if choice.repeats else ~frame["repeat"]
    for column, values in choice.keep.items():
        if values:
            fits &= frame[column].isin(values)
    if choice.named_by is not None:
        fits &= frame["named_by"].eq(choice.named_by)
    for key, least in choice.least.items():
        fits &= frame[key].ge(least)
    rows = frame[fits]
    if choice.sort:
        by_name = choice.sort == "name"
        rows = rows.sort_values(
            choice.sort, ascending=choice.ascending, na_position="last", kind="stable",
            key=(lambda names: names.str.casefold()) if by_name else None,
        )  # fmt: skip
    return rows


def _order_name(key: str, frame: pd.DataFrame, known: Mapping[str, Metric]) -> str:
    if not key:
        return "the search" if "relevance" in frame else "the run"
    return "name" if key == "name" else spoken(key, known)
