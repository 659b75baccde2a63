"""Naming: walk through the concepts that no person has named, with suggestions, one key a decision."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import streamlit as st

from app import state
from app.components import suggest
from app.components.examples import examples
from app.components.filters import known_metrics, measured, spoken
from app.components.naming import watch_names
from app.components.page import empty, heading, sentences, title
from app.components.sign_in import no_writing
from app.components.text import chips, escape, literal, short
from app.tables import densities
from app.writer import Writer, writer_of
from workbench.store.concept import MAX_NAME, Concept
from workbench.study import Study

DISCOVERED, EVERY = "found without a label", "all"
USED = "how often it is present"


@dataclass
class Queue:
    """One person's walk.

    Attributes:
        asked: What the queue was made of; another question makes another queue.
        ids: The concepts in order.
        place: Which one is shown.
        said: What the last step did.
    """

    asked: tuple[object, ...]
    ids: list[str]
    place: int = 0
    message: str = ""
    known: dict[str, int] = field(default_factory=dict)


def render(study: Study) -> None:
    """The queue."""
    frame = state.concept_frame(study)
    title("Naming", "Concepts that no person has named yet, one after another. Earlier names stay in the history.")
    if frame.empty:
        empty("There are no concepts to name yet. Run an analysis first:", f"workbench run {study.name} linear_probe")
        return
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    with sentences():
        wanted = _controls(study, frame)
        if wanted is None:
            return
        pool, order, asked = wanted
        queue = _queue(study, pool, order, asked)
        done = int(pool["named_by"].eq("human").sum())
        share = done / max(len(pool), 1)
        st.progress(share, text=f"{done:,} of {len(pool):,} have a name by a person")
        if queue.place >= len(queue.ids):
            empty("That was the last one. Choose other concepts above, or go back.")
            _steps(queue)
            return
        _one(writer, queue)


def _controls(study: Study, frame: pd.DataFrame) -> tuple[pd.DataFrame, str, tuple[object, ...]] | None:
    first = frame[~frame["repeat"]]
    columns = st.columns([2, 2, 3, 2])
    which = columns[0].selectbox("Concepts", [DISCOVERED, EVERY], key="which", bind="query-params")
    metrics = measured(first, known := known_metrics(study, first))
    orders = [*metrics, USED]
    order = columns[1].selectbox(
        "Order, largest first", orders, key="order", bind="query-params",
        format_func=lambda k: k if k == USED else spoken(k, known),
    )  # fmt: skip
    runs = list(dict.fromkeys(first["run"]))
    chosen = columns[2].multiselect(
        "Runs", runs, placeholder="all", format_func=lambda r: short(r, 80), key=f"queue runs {study.folder}"
    )
    author = columns[3].text_input("Your name", value=st.session_state.get("author", ""), max_chars=80, placeholder="someone")
    st.session_state["author"] = author.strip()
    pool = first[first["label"].eq("")] if which == DISCOVERED else first
    pool = pool[pool["run"].isin(chosen)] if chosen else pool
    if pool.empty:
        empty("There are no such concepts here; choose all of them, or other runs.")
        return None
    return pool, str(order), (which, order, tuple(chosen))


def _queue(study: Study, pool: pd.DataFrame, order: str, asked: tuple[object, ...]) -> Queue:
    key = f"queue {study.folder}"
    queue: Queue | None = st.session_state.get(key)
    if queue is None or queue.asked != asked:
        open_ = pool[~pool["named_by"].eq("human")]
        value = open_["id"].map(densities(study)) if order == USED else open_[order]
        ids = open_.assign(_value=value).sort_values("_value", ascending=False, na_position="last", kind="stable")["id"].tolist()
        queue = st.session_state[key] = Queue(asked, ids)
    return queue


def _one(writer: Writer, queue: Queue) -> None:
    study = writer.study
    concept = study.concept(queue.ids[queue.place])
    history = concept.names()
    # Names that come from now on were given by somebody else while this one was looked at.
    queue.known.setdefault(concept.id, int(history["id"].max()) if len(history) else 0)
    with st.container():
        if queue.message:
            st.html(f'<div class="cw-soft">{queue.message}</div>')
    _steps(queue)
    heading(concept.name)
    st.html(chips({"method": concept.method, "site": concept.site, "label": concept.label, "id": concept.id}))
    st.page_link(state.page("concept"), label="Everything about it", icon=":material/label:", query_params=state.link(concept.id))
    watch_names(concept, queue.known[concept.id])
    left, right = st.columns([2, 3], gap="large")
    with left:
        about = (
            "A key takes a name. Beside it: how well the name says where the concept is, on text that had no part in finding it"
        )
        heading("Suggested names", f"{about} (AUROC, 95% interval), and what other names reach.")
        # Each part has its place, whether it is there yet or not: what comes later must not move what is in use.
        looking, choices, own = st.container(), st.container(), st.container()
        with looking:
            names, why = suggest.suggestions(concept, history)
        with choices:
            taken = suggest.choose(concept, names, why)
        with own:
            typed = _typed(concept)
    if taken or typed:
        with sentences():
            _save(writer, queue, concept, taken or typed)
            st.rerun()
    with right, sentences():
        examples(concept)
    if queue.place + 1 < len(queue.ids):
        _ahead(study.concept(queue.ids[queue.place + 1]))


def _ahead(concept: Concept) -> None:
    suggest.ahead(concept, concept.names())


def _typed(concept: Concept) -> str:
    with st.form(f"type {concept.id}", border=False):
        text = st.text_input("A name of your own", max_chars=MAX_NAME, placeholder="What is it about?")
        return text if st.form_submit_button("Save and go on", icon=":material/check:") else ""


def _steps(queue: Queue) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Back", icon=":material/chevron_left:", shortcut="B", disabled=queue.place == 0):
            queue.place, queue.message = queue.place - 1, ""
            st.rerun()
        if st.button("Skip", icon=":material/chevron_right:", shortcut="S", disabled=queue.place >= len(queue.ids)):
            queue.place, queue.message = queue.place + 1, ""
            st.rerun()
        where = f"{min(queue.place + 1, len(queue.ids)):,} of {len(queue.ids):,} in this queue"
        st.html(f'<span class="cw-soft cw-small cw-number">{where}</span>', width="content")


def _save(writer: Writer, queue: Queue, concept: Concept, text: str) -> None:
    history = concept.names()
    others = history[history["source"].eq("human") & history["id"].gt(queue.known[concept.id])] if len(history) else history
    writer.rename(concept, text, st.session_state.get("author") or "someone")
    queue.message = f"Saved <b><bdi>{escape(text, MAX_NAME)}</bdi></b> for {escape(concept.id, 160)}."
    if len(others):
        last = others.iloc[-1]
        message = f" {escape(last['author'], 80)} had named it <b><bdi>{escape(last['text'], MAX_NAME)}</bdi></b> meanwhile"
        queue.message += f"{message}; both are in its history."
        st.toast(literal(f"{short(last['author'], 80)} had named it {short(last['text'], 80)} meanwhile; both are kept."))
    queue.place += 1
