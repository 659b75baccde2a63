"""A concept: its name, its evidence, where it is strongest, and what else is like it."""

from __future__ import annotations

import streamlit as st

from app import jobs, state
from app.components.collect import collect
from app.components.curves import activations, dose_curves
from app.components.evidence import evidence_card, missing_families
from app.components.examples import examples, try_text
from app.components.naming import name_form, notes
from app.components.neighbours import neighbours
from app.components.page import empty, heading, sentences, title
from app.components.report import report_button
from app.components.text import chips, literal, sentence
from app.components.vocabulary import vocabulary
from app.writer import writer_of
from workbench.evidence.metrics import metrics_of
from workbench.store.concept import Concept
from workbench.study import Study


def render(study: Study) -> None:
    """The page of the concept that the link names, or that was open."""
    asked = st.query_params.get("concept") or st.session_state.get(f"concept of {study.folder}")
    if not asked:
        _none_asked(study)
        return
    concept = study.concept(asked)
    st.session_state[f"concept of {study.folder}"] = concept.id
    for key, value in state.link(concept.id).items():
        st.query_params[key] = value
    _steps(study, concept)
    history = concept.names()
    title(concept.name, concept.id)
    query = {**state.link(), "run": concept.run_id}
    st.page_link(
        state.page("runs"), label=literal(f"found by {concept.run_id}", 160), query_params=query, icon=":material/play_circle:"
    )
    if concept.steerable:
        st.page_link(
            state.page("steer"), label="Steer with this concept", icon=":material/tune:",
            query_params=state.link() | {"steer": concept.id},
        )  # fmt: skip
    st.html(chips({"method": concept.method, "site": concept.site, "read by": concept.level, "label": concept.label}))
    left, right = st.columns([3, 2], gap="large")
    with left:
        evidence = concept.evidence()
        heading(
            "Evidence",
            "Measured on held-out examples; beside a value its null, if it has one: what there is when there is nothing to find.",
        )
        with sentences():
            for remark in concept.remarks:
                st.warning(sentence(remark))
            evidence_card(evidence, concept.id, metrics_of([concept.run.analysis]))
            missing_families(evidence, f"workbench examine {study.name} {concept.run_id} --concept {concept.number}")
        _examine(study, concept)
        later = st.container()
    with right:
        name_form(concept, history)
        with sentences():
            activations(concept)
        with sentences():
            neighbours(concept)
        notes(concept)
        heading("Collections and report")
        inside = [name for name in study.collections.names() if concept.id in study.collections[name].ids]
        if inside:
            st.html(chips({"in": ", ".join(inside)}))
        collect(study, [concept.id], concept.id)
        report_button(study, concept.id)
    # Examples need the activations and the model, so everything else is drawn before them.
    with later:
        with sentences():
            vocabulary(concept)
        with sentences():
            dose_curves(concept, evidence)
        with sentences():
            examples(concept)
        with sentences():
            try_text(concept)


def _none_asked(study: Study) -> None:
    title("Concept", "One concept, whichever method found it.")
    if state.concept_frame(study).empty:
        empty("No concepts yet. Run an analysis, and what it finds is here:", f"workbench run {study.name} linear_probe")
        return
    empty("Choose a concept from the table, or open a link to one.")
    st.page_link(state.page("concepts"), label="All concepts", icon=":material/list:", query_params=state.link())


def _steps(study: Study, concept: Concept) -> None:
    """Links to the concepts before and after: of the list that was last shown, or of all."""
    ids: list[str] = st.session_state.get(f"listed of {study.folder}", [])
    if concept.id not in ids:
        frame = state.concept_frame(study)
        ids = frame.loc[~frame["repeat"] | frame["id"].eq(concept.id), "id"].tolist()
    place = ids.index(concept.id) if concept.id in ids else 0
    steps = {"Previous": (place - 1, ":material/chevron_left:"), "Next": (place + 1, ":material/chevron_right:")}
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, (target, icon) in steps.items():
            there = 0 <= target < len(ids)
            query = state.link(ids[target] if there else concept.id)
            st.page_link(state.page("concept"), label=label, icon=icon, disabled=not there, query_params=query)
        st.html(f'<span class="cw-soft cw-small cw-number">{place + 1:,} of {len(ids):,}</span>', width="content")


def _examine(study: Study, concept: Concept) -> None:
    """The button that puts this concept on trial, and how far that is; nothing where one may only read."""
    if (writer := writer_of(study)) is None:
        return
    key = ("examine", str(study.folder), concept.id)
    job = jobs.button(
        key, "Examine this concept", "Examining", lambda show: writer.examine(concept, show), icon=":material/science:",
        help="A trial of this concept alone, about a minute. What can be tried on every concept (detection, sensitivity,"
        " stability, name) is corrected for all concepts of its run; what steering measures is then corrected for no other.",
    )  # fmt: skip
    if job is not None:
        st.success(f"Examined: {job.result} measurements are on the card.")
        jobs.forget(key)
