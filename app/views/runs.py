"""Runs: what was run, how it went, and a form that starts an analysis in a process of its own."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.by_site import measurement_columns
from app.components.charts import chart
from app.components.drawing import table, views
from app.components.form import input_fields, option_fields
from app.components.head_editor import head_editor
from app.components.page import empty, heading, sentences, small_lines, title
from app.components.repeating import repeat_button, repetition
from app.components.running import running
from app.components.text import escape, literal, number, sentence, short
from app.tables import declared, set_label
from app.writer import Writer, writer_of
from workbench.analysis import Analysis, Metric, find_analysis
from workbench.errors import WorkbenchError
from workbench.frames import records
from workbench.measurements import corrections, first_of_each, shown_of
from workbench.numbers import counted, p_value
from workbench.registry import analysis_names
from workbench.seeds import LARGEST
from workbench.statistics.rows import P_VALUES, SHOWN
from workbench.store.run_kinds import OF_OTHER_RUNS
from workbench.store.runs import Run
from workbench.study import Study
from workbench.views import HeadView

ROWS_SHOWN = 500
REMARKS_SHOWN = 5


def render(study: Study) -> None:
    """The form, what is running, the list, and the run that was chosen."""
    writer = writer_of(study)
    if writer is not None:
        writer.sweep()
    runs = study.runs(status=None)
    spent = number(float(runs["seconds"].astype(float).sum()))
    title("Runs", f"{len(runs):,} in {study.name}, {spent} s together. A finished run never changes.")
    with sentences():
        running(study)
    with sentences():
        if writer is not None and st.toggle("Start an analysis", value=runs.empty, key="start", bind="query-params"):
            _starter(writer)
    if runs.empty:
        empty("No analysis has been run yet: start one here, or from a terminal:", f"workbench run {study.name} linear_probe")
        return
    chosen = _list(study, runs)
    if chosen:
        with sentences():
            _details(study, chosen)


def _starter(writer: Writer) -> None:
    study = writer.study
    sets = {acts.id: acts for acts in study.activations()}
    if not sets:
        empty("There are no activations to read yet. Capture some first:", f"workbench capture {study.name} --model … --data …")
        return
    left, right = st.columns(2)
    name = left.selectbox("Analysis", analysis_names(), format_func=spoken, key=f"analysis {study.folder}")
    analysis = find_analysis(name)
    chosen = right.selectbox(
        "Activations", list(sets)[::-1], key=f"activations {study.folder}",
        format_func=lambda i: set_label(sets[i]),
    )  # fmt: skip
    about = " ".join((analysis.__doc__ or "").split())
    st.html(f'<div class="cw-soft">{escape(analysis.title)}. {escape(about, 900)}</div>')
    choices = label_choices(study, chosen)
    small_lines(planned(study, chosen), 400)
    with st.form(f"start {study.folder} {name} {chosen}", border=True):
        sites = _sites(analysis, [str(s) for s in sets[chosen].sites], f"sites {name} {chosen}")
        options = option_fields(analysis, str(study.folder), choices)
        options |= input_fields(study, analysis, str(study.folder))
        below = st.columns(2)
        seed = int(below[0].number_input("seed", 0, LARGEST, 0, 1, help="Every random choice comes from it.", key=f"seed {name}"))
        force = below[1].toggle("Run again although the same run is there", key=f"force {name}")
        if st.form_submit_button("Start", icon=":material/play_arrow:", type="primary"):
            try:
                writer.start(name, chosen, sites, options, seed, force)
            except WorkbenchError as error:
                st.error(sentence(error))
            else:
                st.rerun()


def _sites(analysis: type[Analysis], known: list[str], key: str) -> list[str]:
    if analysis.one_site:
        return [str(st.selectbox("Site", known, index=len(known) // 2, key=key, help="Where in the model it reads."))]
    about = "Where in the model it reads; all when blank."
    chosen = st.multiselect("Sites", known, placeholder="all of them", key=key, help=about)
    return [str(site) for site in chosen]


def label_choices(study: Study, activations: str) -> dict[str, list[str]]:
    """What there is to choose from for fields that ask for labels or columns."""
    acts = study.activation_set(activations)
    return _label_choices(str(study.folder), activations, study.dataset_of(acts).hash, study)


@st.cache_resource(max_entries=8, show_spinner="Reading the labels …")
def _label_choices(folder: str, activations: str, labels: str, _study: Study) -> dict[str, list[str]]:
    from workbench.activations.labels import all_labels

    dataset = _study.dataset_of(_study.activation_set(activations))
    columns = [label.name for label in dataset.example_labels if label.kind == "class"]
    spans = ["tokens"] if dataset.span_targets() else []
    uses = dataset.columns()
    kept = [str(name) for name in uses.loc[uses["use"].eq("kept"), "column"]]
    return {"labels": [*columns, *spans, *all_labels(dataset), *kept], "columns": [*columns, *kept]}


def planned(study: Study, activations: str) -> list[str]:
    """What the data can show, in sentences."""
    acts = study.activation_set(activations)
    return _planned(str(study.folder), activations, study.dataset_of(acts).hash, study)


@st.cache_resource(max_entries=8, show_spinner="Counting documents …")
def _planned(folder: str, activations: str, labels: str, _study: Study) -> list[str]:
    from workbench.evidence.plan import plan_sentences
    from workbench.evidence.plan_causes import causes_sentences, plan_causes

    acts = _study.activation_set(activations)
    return [*plan_sentences(_study.plan(acts, concepts=(20, 1000))), *causes_sentences(plan_causes(_study, acts))]


def _list(study: Study, runs: pd.DataFrame) -> str:
    """The table; gives the id of the run that is open, or nothing."""
    heading("All runs", "The newest first. Choose a row to see what it was asked, what it measured and what it came from.")
    frame = state.concept_frame(study)
    counts = frame.groupby("run").size() if len(frame) else pd.Series(dtype=int)
    newest = runs[::-1].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "Analysis": [spoken(a) for a in newest["analysis"]],
            "Status": newest["status"],
            "Concepts": newest["id"].map(counts).fillna(0).astype(int),
            "Seed": newest["seed"],
            "Seconds": newest["seconds"].astype(float).round(1),
            "Peak MiB": newest["peak_mib"].astype(float).round(0),
            "Started (UTC)": [short(str(s)[:19], 40).replace("T", " ") for s in newest["started"]],
            "Id": [short(i, 128) for i in newest["id"]],
            "Options": [short(json.dumps(c), 300) for c in newest["config"]],
        }
    )
    event = st.dataframe(
        table, hide_index=True, placeholder="–", on_select="rerun", selection_mode="single-row",
        key=f"runs {study.folder} {len(runs)}", height=min(460, 38 + 35 * len(table)),
    )  # fmt: skip
    if event.selection.rows:
        st.query_params["run"] = str(newest["id"].iloc[event.selection.rows[0]])
    return str(st.query_params.get("run", ""))


def _details(study: Study, identifier: str) -> None:
    run = study.get_run(identifier)
    record = run.record
    heading(f"{spoken(run.analysis)}: {short(run.id, 128)}")
    facts = {
        "Status": record["status"],
        "Seed": record["seed"],
        "Started": str(record["started"])[:19].replace("T", " ") + " UTC",
    }
    if record["seconds"] is not None:
        facts["Took"] = f"{number(float(record['seconds']))} s"
    facts |= {f"option {key}": json.dumps(value, ensure_ascii=False) for key, value in run.config.items()}
    facts |= {f"input {key}": _plain(value) for key, value in record["inputs"].get("read", {}).items()}
    facts |= {key: _plain(value) for key, value in record["inputs"].items() if key not in {"parents", "read"}}
    cells = "".join(f'<span class="cw-soft">{escape(k)}</span><span>{escape(v, 600)}</span>' for k, v in facts.items())
    st.html(f'<div class="cw-facts">{cells}</div>')
    if record["error"]:
        st.warning(sentence(record["error"]))
    known = set(study.runs(None)["id"])
    for parent in filter(known.__contains__, record["inputs"].get("parents", [])):
        link = {"study": state.link()["study"], "run": str(parent)}
        st.page_link(state.page("runs"), label=literal(f"made from {parent}"), query_params=link, icon=":material/arrow_back:")
    if record["status"] == "done":
        with sentences():
            repetition(study, run)
        repeat_button(study, run)
        _found(run)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _found(run: Run) -> None:
    if run.analysis not in OF_OTHER_RUNS or "metrics" in run.tables:
        _metrics(run, declared(run.analysis))
    if len(run.edits):
        small_lines([run.edits.sentence, f"Capture under one: workbench capture {run.study.name} … --under {run.id}/EDIT"])
    shown: set[str] = set()
    with sentences():
        shown = views(run)
    columns = st.columns(2, gap="large")
    for place, name in enumerate(run.figures):
        with columns[place % 2], sentences():
            chart(run.figures[name], f"figure {run.id} {name}")
    for name in [name for name in run.own_tables if name not in shown]:
        with st.expander(f"Table: {literal(name, 80)}"), sentences():
            table(run, name)
    with sentences():
        _parts(run)
    with st.expander("Machine and packages"):
        st.json(run.record["provenance"])


def _parts(run: Run) -> None:
    """What else the run keeps, by name; a head that no view shows has its editor here."""
    named = {view.head for view in run.views if isinstance(view, HeadView)}
    for name in [name for name in run.heads if name not in named]:
        with st.expander(f"Head: {literal(name, 80)}"), sentences():
            head_editor(run, name, f"head {run.id} {name}")
    kept = {"Graphs": list(run.graphs), "Small models": list(run.models)}
    small_lines([f"{what}: {', '.join(names)}" for what, names in kept.items() if names])


def _metrics(run: Run, known: dict[str, Metric]) -> None:
    table = run.metrics
    if table.empty:
        empty("This run recorded no measurements.")
        return
    rows = first_of_each(table, known, max(ROWS_SHOWN // table["metric"].nunique(), 1) if len(table) > ROWS_SHOWN else ROWS_SHOWN)
    sentences = [*filter(None, [shown_of(table, rows, known)]), *corrections(rows, known)]
    if len(rows) < len(table):
        sentences.append("The report page exports them all.")
    table = rows.assign(
        metric=[known[k].title if k in known else short(k) for k in rows["metric"]],
        **{c: [short(v) for v in rows[c]] for c in ("site", "label", "class") if c in rows},
    )
    first = [c for c in ("metric", "site", "label", "class", *SHOWN) if c in table]
    shown = table[first]
    shown = shown.assign(**{c: shown[c].map(p_value) for c in P_VALUES if c in shown})
    st.dataframe(
        pd.DataFrame(records(shown)), hide_index=True, placeholder="–", column_config=measurement_columns(),
        height=min(420, 38 + 35 * len(shown)),
    )  # fmt: skip
    small_lines(sentences)
    _remarks(run.remarks)


def _remarks(remarks: list[str]) -> None:
    """The first few in one box, and the others below it."""
    lines = [f"- {sentence(remark)}" for remark in remarks]
    if lines:
        st.warning("\n".join(lines[:REMARKS_SHOWN]))
    if more := lines[REMARKS_SHOWN:]:
        with st.expander(counted(len(more), "more remark")):
            st.markdown("\n".join(more))


def spoken(name: str) -> str:
    """The name of an analysis as words."""
    return short(name, 64).replace("_", " ").capitalize()
