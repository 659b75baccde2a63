"""All the concepts: search, filter, sort, and open one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.collect import collect
from app.components.filters import Choice, ask, chosen_rows
from app.components.page import empty, sentences, title
from app.components.text import literal
from app.tables import evidence_metrics
from workbench.metrics import Metric
from workbench.numbers import counted
from workbench.study import Study

NEAREST = 100


@dataclass(frozen=True)
class Mode:
    """A way to search.

    Attributes:
        argument: What ``study.concepts`` calls it.
        hint: What to type, shown while nothing is typed.
        kinds: The kinds of model that it needs; any when empty.
    """

    argument: str
    hint: str
    kinds: frozenset[str] = frozenset()


MODES = {
    "Name or meaning": Mode("query", "money, for instance"),
    "A text it fires on": Mode(
        "fires_on", "a sentence; concepts that stand out on it come first", frozenset({"encoder", "decoder"})
    ),
    "A token that it makes likelier": Mode("output", "a word; concepts that raise it come first", frozenset({"decoder"})),
}


def render(study: Study) -> None:
    """The table."""
    frame = state.concept_frame(study)
    hidden = int(frame["repeat"].sum())
    more = f", and {hidden:,} of runs repeated with another seed" if hidden else ""
    title("Find a concept", f"{len(frame) - hidden:,} in {study.name}{more}")
    if frame.empty:
        empty("No concepts yet. Run an analysis, and what it finds is here:", f"workbench run {study.name} linear_probe")
        return
    found, words = frame, ""
    with sentences():
        found, words = _search(study, frame)
    choice = ask(study, found)
    rows = chosen_rows(found, choice)
    st.session_state[f"listed of {study.folder}"] = rows["id"].tolist()
    st.html(f'<div class="cw-soft">{counted(len(rows), "concept")}{words}. Choose a row to open it.</div>')
    if rows.empty:
        empty("No concept fits. Take away a filter, or search for other words.")
        return
    _table(study, rows, choice)
    with st.expander("Keep these in a collection", icon=":material/playlist_add:"):
        collect(study, rows["id"].tolist(), "listed")


def modes(study: Study) -> dict[str, Mode]:
    """The ways to search that the study's model allows."""
    known = study.known_model()
    kind = known["kind"] if known else ""
    return {name: mode for name, mode in MODES.items() if not mode.kinds or kind in mode.kinds}


def _search(study: Study, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    how, what = st.columns([1, 2])
    known = modes(study)
    mode = known[how.selectbox("Search by", list(known), key="by", bind="query-params")]
    text = what.text_input(
        "Search", max_chars=5000, placeholder=mode.hint, icon=":material/search:", key="q", bind="query-params"
    ).strip()
    if not text:
        return frame, ""
    ids, relevance = state.find(study, mode.argument, text, NEAREST)
    place = {identifier: i for i, identifier in enumerate(frame["id"])}
    inside = [(i, r) for i, r in zip(ids, relevance, strict=True) if i in place]
    found = frame.iloc[[place[i] for i, _ in inside]].reset_index(drop=True)
    found.insert(1, "relevance", [r for _, r in inside])
    nearest = f" of the {len(found):,} nearest to your search" if len(found) == NEAREST else " answer your search"
    return found, nearest


def _table(study: Study, rows: pd.DataFrame, choice: Choice) -> None:
    shown = [c for c in ("name", "method", "site", "label", "detects") if c in rows]
    shown = [c for c in shown if c not in {"label", "detects"} or rows[c].astype(bool).any()]
    if "relevance" in rows:
        shown.insert(1, "relevance")
    opened = st.session_state.get("opened", 0)
    event = st.dataframe(
        rows[[*shown, *choice.metrics, "named_by", "seed", "id"]],
        hide_index=True,
        placeholder="–",
        height=min(720, 40 + 35 * len(rows)),
        column_config=_columns(choice.metrics, evidence_metrics(study)),
        on_select="rerun",
        selection_mode="single-row",
        # A new key after a concept was opened, so that coming back does not open it again.
        key=f"concepts {study.folder} {opened}",
    )
    if event.selection.rows:
        st.session_state["opened"] = opened + 1
        state.open_concept(str(rows["id"].iloc[event.selection.rows[0]]))


def _columns(metrics: list[str], known: dict[str, Metric]) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    columns: dict[str, Any] = {
        "name": st.column_config.TextColumn("Name", width="medium"),
        "relevance": number("Relevance", format="%.3f", help="Of this search; the larger the better."),
        "method": "Method", "site": "Site", "label": "Label", "named_by": "Named by", "seed": "Seed", "id": "Id",
        "detects.q": number(
            "q", format="%.4f", help="p of its AUROC, by Benjamini and Hochberg over all tested concepts: of those with a q up to"
            " .05, one in twenty is expected to be false.",
        ),
        "detects": st.column_config.TextColumn(
            "Best at", help="The label that it detects best on held-out data; none where its AUROC is not above .5."
        ),
    }  # fmt: skip
    for key in (key for key in metrics if key not in columns):
        metric = known.get(key)
        head = key if metric is None else metric.title + (f" ({metric.unit})" if metric.unit else "")
        columns[key] = number(head, format="%.3f", help=literal(metric.description, 600) if metric else None)
    return columns
