"""Where a concept is strongest, and what it does on a text of one's own."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.page import empty, heading, sentences
from app.components.text import escape, number
from workbench.frames import records
from workbench.reports.highlight import highlight
from workbench.reports.parts import examples_html
from workbench.store.concept import Concept

FIRST = 5
COUNT = 12
MAX_TEXT = 20_000


def examples(concept: Concept) -> None:
    """The strongest examples with the activation over their tokens."""
    about = "Shaded by activation, relative to the strongest token of each example; none of them is from the test split."
    if concept.level == "example":
        about = "It is read from the mean over an example; the shading shows each token's own part. None is from the test split."
    heading("Where it is strongest", about)
    found = concept.examples(COUNT)
    if found.empty:
        empty("It was not present in any example.")
        return
    rows = [{str(k): v for k, v in row.items()} for row in records(found)]
    if not isinstance(rows[0]["input"], str):
        _images(rows)
        return
    st.html(_examples_html(str(concept.study.folder), concept.id, 0, FIRST, concept, rows))
    if len(rows) > FIRST and st.toggle(f"Show {len(rows) - FIRST} more", key=f"more {concept.id}"):
        st.html(_examples_html(str(concept.study.folder), concept.id, FIRST, COUNT, concept, rows))


@st.cache_resource(max_entries=512, show_spinner="Reading activations …")
def _examples_html(folder: str, concept: str, first: int, last: int, _concept: Concept, _rows: list[dict[str, Any]]) -> str:
    # A finished run never changes, so neither do its examples.
    parts, rows = [], _rows[first:last]
    every = examples_html(_concept, [int(row["example"]) for row in rows], [row["input"] for row in rows])
    for row, shown in zip(rows, every, strict=True):
        where = f"example {int(row['example']):,}, peak {number(float(row['value']))}"
        parts.append(f'<div class="cw-example">{shown}<div class="cw-soft cw-small cw-number">{where}</div></div>')
    return "".join(parts)


def _images(rows: list[dict[str, Any]]) -> None:
    columns = st.columns(4)
    for place, row in enumerate(rows):
        caption = f"example {int(row['example'])}, {number(float(row['value']))}"
        columns[place % 4].image(row["input"], caption=caption, width="stretch")


def try_text(concept: Concept) -> None:
    """Read the concept on a text that the user writes."""
    if concept.study.model_record()["kind"] not in {"encoder", "decoder"}:
        return
    heading("Try a text of your own")
    text = st.text_area("Text", max_chars=MAX_TEXT, height=90, key=f"try {concept.id}", placeholder="Type or paste a text.")
    if not st.button("Read the concept", icon=":material/play_arrow:", key=f"read {concept.id}") and not text:
        return
    if not text.strip():
        st.warning("Write a text first.")
        return
    with sentences(), st.spinner("Running the model …"), state.model_lock(concept.study):
        table = concept.on_text(text)
        st.html(_own_html(concept, text, table))


def _own_html(concept: Concept, text: str, table: pd.DataFrame) -> str:
    marks = zip(table["start"].tolist(), table["end"].tolist(), table["value"].tolist(), strict=True)
    shown = highlight(text, marks, window=2000)
    if table.empty:
        return f'<div class="cw-example">{shown}</div><div class="cw-soft">The model sees no token in it.</div>'
    peak = table.iloc[int(table["value"].to_numpy().argmax())]
    mean = number(float(table["value"].mean()))
    facts = f"strongest on “{escape(peak['token'], 40)}”: {number(float(peak['value']))}; mean {mean}"
    usual = concept.summary()
    if len(usual):
        facts += f"; its usual strength in the data is {number(float(usual['mean']))} ± {number(float(usual['deviation']))}"
    where = "this text" if table["end"].max() >= len(text.rstrip()) - 1 else "the part of it that was read"
    nothing = "" if peak["value"] > 0 else f" It is not present in {where}."
    return f'<div class="cw-example">{shown}<div class="cw-soft cw-small cw-number">{facts}.{nothing}</div></div>'
