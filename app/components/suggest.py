"""Names that a concept may be given: the one it has by a method, and words of the vocabulary, each tried on held-out text."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import jobs, state
from app.components.text import escape, interval, literal, number
from app.tables import scored_names
from workbench.frames import records
from workbench.progress import Progress
from workbench.store.concept import Concept

COUNT = 5


def suggestions(concept: Concept, history: pd.DataFrame) -> tuple[list[str], str]:
    """The names, best fitting first, and why there are none; they are looked for in the background."""
    words = ("names", str(concept.study.folder), concept.run_id)
    job = jobs.find_job(words) or jobs.start(words, "Looking for words that fit", lambda show: _words(concept, show))
    if not job.finished:
        jobs.watch(words)
    return _names(concept, history, job), job.error


def _names(concept: Concept, history: pd.DataFrame, job: jobs.Job) -> list[str]:
    given = history.loc[history["source"].eq("method"), "text"].tolist()[-1:] if len(history) else []
    fitting = [word for word, _ in job.result.best(concept.number, COUNT)] if job.result is not None else []
    return list(dict.fromkeys([*given, *fitting]))[:COUNT]


def _words(concept: Concept, show: Progress) -> object:
    show(0, 1, "comparing the words of the vocabulary with the strongest examples")
    with state.model_lock(concept.study):
        return scored_names(str(concept.study.folder), concept.run_id, concept.study)


def trial(concept: Concept, names: list[str]) -> tuple[pd.DataFrame | None, bool]:
    """How well each name says where the concept is present, None where that is not known, and whether it is being measured."""
    key = _key(concept, names)
    job = jobs.find_job(key) or jobs.start(key, "Trying the names on held-out text", lambda show: _try(concept, names, show))
    if not job.finished:
        return None, True
    if job.error:
        st.html(f'<div class="cw-soft cw-small">{escape(job.error, 400)}</div>')
    return job.result, False


def ahead(concept: Concept, history: pd.DataFrame) -> None:
    """Try the names of a concept before anybody asks, where its run's words are known."""
    job = jobs.find_job(("names", str(concept.study.folder), concept.run_id))
    if job is None or not job.finished:
        return
    names = _names(concept, history, job)
    key = _key(concept, names)
    if names and jobs.find_job(key) is None:
        jobs.start(key, "Trying the names on held-out text", lambda show: _try(concept, names, show))


def _key(concept: Concept, names: list[str]) -> tuple[str, ...]:
    return ("try", str(concept.study.folder), concept.id, *names)


def _try(concept: Concept, names: list[str], show: Progress) -> pd.DataFrame:
    from workbench.evidence.named import try_names

    show(0, 1, "the words on which it is present")
    with state.model_lock(concept.study):
        return try_names(concept, names)


def choose(concept: Concept, names: list[str], why: str) -> str | None:
    """A button and a key for every name, with its score beside it; the name that was taken."""
    if not names:
        st.html(f'<div class="cw-soft">{escape(why or "No word suggests itself; type a name of your own.", 400)}</div>')
        return None
    table, busy = trial(concept, names)
    rows = {row["text"]: row for row in records(table)} if table is not None else {}
    taken = None
    for place, name in enumerate(names):
        left, right = st.columns([2, 3], vertical_alignment="center")
        if left.button(literal(name, 60), key=f"take {concept.id} {place}", shortcut=str(place + 1), width="stretch"):
            taken = name
        right.html(_score(rows.get(name), measured=not busy))
    if busy:
        # Below the buttons, so that they stay where they are when it is done.
        jobs.watch(_key(concept, names))
    return taken


def _score(row: dict | None, measured: bool) -> str:
    if row is None:
        return f'<div class="cw-soft cw-small">{"not tried" if measured else "being tried …"}</div>'
    if row["status"] != "ok":
        return f'<div class="cw-soft cw-small">not measured: {escape(row["error"], 200)}</div>'
    tone, words = _against_names(row["value"], row["null_high"])
    between = interval(row["low"], row["high"]) or "no interval"
    return (
        f'<div class="cw-small {tone} cw-number"><span class="cw-verdict"><b>{number(row["value"])}</b> '
        f"({between}), null to {number(row['null_high'])}: {words}</span></div>"
    )


def _against_names(value: float, high: float | None) -> tuple[str, str]:
    """The tone of a score and what it says."""
    if high is None or pd.isna(high):
        return "cw-unknown", "what other names reach is not known"
    return ("cw-beyond", "above what other names reach") if value > high else ("cw-within", "other names reach as much")
