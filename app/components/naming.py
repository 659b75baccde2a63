"""Names and notes of a concept: give one, read the history. Nothing is ever overwritten."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.page import heading, sentences
from app.components.text import escape, number
from app.writer import writer_of
from workbench.frames import records
from workbench.store.concept import MAX_NAME, Concept

NOTE_SHOWN = 4000
HISTORY_SHOWN = 50
WATCH_SECONDS = 3.0


def name_form(concept: Concept, history: pd.DataFrame) -> None:
    """A box for a better name, and every name it had."""
    heading("Name")
    watch_names(concept, int(history["id"].max()) if len(history) else 0)
    if (writer := writer_of(concept.study)) is not None:
        with st.form(f"rename {concept.id}", clear_on_submit=True, border=False):
            text = st.text_input("New name", max_chars=MAX_NAME, placeholder="What is it about?")
            author = _author_box(f"name author {concept.id}")
            if st.form_submit_button("Save name", icon=":material/edit:"):
                with sentences():
                    writer.rename(concept, text, _keep_author(author))
                    st.toast("The name was saved; the earlier ones stay in the history.")
                    st.rerun()
    _history(history)


@st.fragment(run_every=WATCH_SECONDS)
def watch_names(concept: Concept, newest: int) -> None:
    """Say when somebody else has named the concept since this page was drawn."""
    history = concept.names()
    fresh = history[history["id"].gt(newest)] if len(history) else history
    if len(fresh):
        last = fresh.iloc[-1]
        sentence = f"{escape(last['author'], 80)} has just named it <b><bdi>{escape(last['text'], 400)}</bdi></b>"
        st.html(f'<div class="cw-news">{sentence}; your name would come after it, and both stay in the history.</div>')


def _history(history: pd.DataFrame) -> None:
    rows = records(history)[::-1]
    with st.expander(f"History ({len(rows):,})", expanded=bool(rows) and len(rows) <= 4):
        items = []
        for row in rows[:HISTORY_SHOWN]:
            sure = "" if row["confidence"] is None or pd.isna(row["confidence"]) else f", confidence {number(row['confidence'])}"
            by = "a person" if row["source"] == "human" else "a method"
            what = f"{escape(row['author'], 80)} ({by}{sure}), {when(row['at'])}"
            text = f"<bdi>{escape(row['text'], 400)}</bdi>"
            items.append(f'<div class="cw-item">{text}<div class="cw-soft cw-small">{what}</div></div>')
        if len(rows) > HISTORY_SHOWN:
            items.append(f'<div class="cw-soft cw-small">and {len(rows) - HISTORY_SHOWN:,} earlier ones</div>')
        st.html("".join(items) or '<div class="cw-soft">Nobody has named it yet, so its id stands for a name.</div>')


def notes(concept: Concept) -> None:
    """Read the notes and add one."""
    heading("Notes")
    items = [
        f'<div class="cw-item"><bdi class="cw-note">{escape(row["text"], NOTE_SHOWN)}</bdi>'
        f'<div class="cw-soft cw-small">{escape(row["author"], 80)}, {when(row["at"])}</div></div>'
        for row in records(concept.notes())
    ]
    if items:
        st.html("".join(items))
    if (writer := writer_of(concept.study)) is None:
        if not items:
            st.html('<div class="cw-soft">There are none yet.</div>')
        return
    with st.form(f"note {concept.id}", clear_on_submit=True, border=False):
        text = st.text_area("New note", max_chars=NOTE_SHOWN, height=80, placeholder="What you saw, and why you believe it.")
        author = _author_box(f"note author {concept.id}")
        if st.form_submit_button("Add note", icon=":material/add_notes:"):
            with sentences():
                if text.strip():
                    writer.note(concept, text.strip(), _keep_author(author))
                    st.rerun()
                st.warning("Write something first.")


def when(at: str) -> str:
    """A time for a reader, in UTC as it was recorded."""
    return escape(str(at).replace("T", " ").replace("+00:00", " UTC"), 40)


def _author_box(key: str) -> str:
    return st.text_input("Your name", value=st.session_state.get("author", ""), max_chars=80, key=key, placeholder="someone")


def _keep_author(author: str) -> str:
    # Kept for the session, so that it is asked for once.
    st.session_state["author"] = author.strip()
    return author.strip() or "someone"
