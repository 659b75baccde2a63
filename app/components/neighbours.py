"""Concepts that other methods found at the same site and that may be the same."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import jobs, state
from app.components.page import empty, heading
from app.components.text import escape, interval, literal, number
from app.writer import writer_of
from workbench.store.concept import Concept
from workbench.study import Study

VERDICTS = {
    "same": "the same concept: beyond both nulls, matched and strongly correlated",
    "related": "related: beyond both nulls",
    "different": "not told apart from chance",
    "unknown": "fewer than eight documents, too few to say",
}
SHOWN = 6


def neighbours(concept: Concept) -> None:
    """The nearest concepts of other methods, each with its nulls and a link."""
    heading("Nearest concepts of other methods", "Cosine of directions and correlation of activations on held-out rows.")
    table, stale = state.known_pairs(concept.study)
    if table is None or stale:
        compare_button(concept.study, stale)
    if table is None:
        return
    mine = table[table["concept"].eq(concept.id)].sort_values("cofiring", ascending=False)
    if mine.empty:
        empty("No other method has a concept at this site, or this concept is nobody's best match.")
        return
    names = state.names_of(concept.study)
    for row in mine.head(SHOWN).to_dict("records"):
        other = str(row["other"])
        st.page_link(
            state.page("concept"), label=literal(names.get(other, other), 80), query_params=state.link(other),
            icon=":material/arrow_forward:",
        )  # fmt: skip
        st.html(_facts(row))


def _facts(row: dict) -> str:
    verdict = VERDICTS.get(row["verdict"], row["verdict"])
    cosine = f"cosine {number(row['cosine'])} (null to {number(row['cosine_null_high'])})"
    between = interval(row["cofiring_low"], row["cofiring_high"])
    together = (
        f"co-firing {number(row['cofiring'])} ({between + '; ' if between else ''}null to {number(row['cofiring_null_high'])})"
    )
    return (
        f'<div class="cw-small" style="margin:-14px 0 4px 34px">{escape(row["other_method"])}: {escape(verdict)}'
        f'<div class="cw-soft cw-number">{cosine} · {together}</div></div>'
    )


def compare_button(study: Study, stale: bool) -> None:
    """Compare the methods of a study, in the background."""
    key = ("compare", str(study.folder))
    job = jobs.find_job(key)
    if job is None or job.finished:
        text = "Runs were added since the methods were last compared." if stale else "The methods have not been compared yet."
        st.html(f'<div class="cw-soft">{text}</div>')
    if (writer := writer_of(study)) is not None:
        jobs.button(key, "Compare methods", "Comparing methods", writer.compare, icon=":material/compare_arrows:")


def family_table(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """One row a family of same concepts: ``family, concept, name, method, site``, largest families first."""
    # Imports torch, which no first paint should wait for.
    from workbench.evidence.counterparts import families_of

    known = frame[["id", "name", "method", "site"]]
    members = families_of(table)[["concept", "family"]].merge(known, left_on="concept", right_on="id")
    size = members.groupby("family")["method"].transform("nunique")
    return members.assign(methods=size).sort_values(["methods", "family", "method"], ascending=[False, True, True])
