"""Report: choose what goes in, build it in the background, and save it as one file; the tables as a zip."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import state
from app.components.download import MIB, download, file_name
from app.components.filters import measured, spoken
from app.components.page import empty, heading, sentences, title
from app.components.text import short
from app.tables import evidence_metrics
from app.views.overview import newest_runs
from workbench.frames import records
from workbench.numbers import counted
from workbench.progress import Progress
from workbench.reports import SECTIONS, choose, expected_bytes, write_report, zip_tables
from workbench.reports.report import Chosen
from workbench.store.run_kinds import of_analyses
from workbench.study import Study

WIDEST, TOP, COLLECTION, PICKED, NONE = (
    "those with the widest evidence", "the best by a measurement", "a collection", "those that I pick", "none",
)  # fmt: skip
MOST = 100


def render(study: Study) -> None:
    """The choices, the preview and the buttons."""
    title("Report", "One HTML file that opens without a network, and the tables as files.")
    runs = study.runs()
    runs = runs[of_analyses(runs)]
    if runs.empty:
        empty("There is nothing to report yet. Run an analysis first:", f"workbench run {study.name} linear_probe")
        return
    with sentences():
        left, right = st.columns([3, 2], gap="large")
        with left:
            heading("What goes in")
            name = st.text_input("Title", max_chars=200, placeholder=short(study.name, 80))
            notes = st.text_area(
                "Words to put first", max_chars=4000, height=100, placeholder="What was asked, and what you conclude."
            )
            chosen_runs = _runs(study, runs)
            sections = st.pills(
                "Sections",
                list(SECTIONS),
                selection_mode="multi",
                default=list(SECTIONS),
                format_func=lambda k: SECTIONS[k],
                wrap=True,
            )
            concepts = _concepts(study)
        with right:
            if not chosen_runs or not sections:
                empty("Choose at least one run and one section.")
                return
            asked = (name, notes, tuple(chosen_runs), tuple(sections), tuple(concepts))
            _preview(study, choose(study, concepts, chosen_runs, sections))
            _build(study, asked)
            _tables(study, chosen_runs)
            _recipe(study, asked)


def _runs(study: Study, runs: pd.DataFrame) -> list[str]:
    about = {row["id"]: f"{row['id']} (seed {row['seed']})" for row in records(runs)}
    newest = [run for run in newest_runs(study) if run in about]
    return st.multiselect("Runs", list(about)[::-1], default=newest, format_func=lambda i: short(about[i], 128), wrap=True)


def _concepts(study: Study) -> list[str]:
    frame = state.concept_frame(study)
    known, metrics = study.collections.names(), evidence_metrics(study)
    ways = [WIDEST, *([TOP] if measured(frame, metrics) else []), *([COLLECTION] if known else []), PICKED, NONE]
    way = st.selectbox("Concepts with a card", ways)
    if way == NONE:
        return []
    if way == COLLECTION:
        name = st.selectbox("Collection", known, format_func=lambda n: short(n, 80), key="collection", bind="query-params")
        return study.collections[name].ids[:MOST]
    if way == PICKED:
        names = state.names_of(study)
        ids = st.multiselect(
            "Concepts", list(names), format_func=lambda i: f"{short(names[i], 80)} · {i}", max_selections=MOST,
            placeholder="Type a part of a name or an id",
        )  # fmt: skip
        return [str(i) for i in ids]
    count = int(st.number_input("How many", 1, MOST, 12))
    if way == TOP:
        metric = st.selectbox("Measurement", measured(frame, metrics), format_func=partial(spoken, known=metrics))
        first = frame[~frame["repeat"] & frame[metric].notna()]
        return first.sort_values(metric, ascending=False, kind="stable")["id"].head(count).tolist()
    from workbench.reports.report import cards_of

    return cards_of(study, count)


def _preview(study: Study, chosen: Chosen) -> None:
    heading("Preview")
    names = state.names_of(study)
    cards = chosen.concepts if "concepts" in chosen.sections else []
    size = expected_bytes(study, chosen) / MIB
    lines = [
        f"{counted(len(chosen.analyses), 'run')}, {counted(len(chosen.sections), 'section')},"
        f" {counted(len(cards), 'concept')} with a card.",
        f"About {size:.1f} MiB; most of a short report is the code that draws its figures.",
    ]
    st.markdown("\n\n".join(lines))
    if cards:
        table = pd.DataFrame({"Concept": [short(names.get(i, i)) for i in cards], "Id": [short(i, 160) for i in cards]})
        st.dataframe(table, hide_index=True, height=min(260, 38 + 35 * len(table)))


def _build(study: Study, asked: tuple) -> None:
    key = ("built", str(study.folder), repr(asked))
    download(
        key, ("Build report", "Building the report"), lambda show: _report(study, asked, show), "Download report (HTML)",
        file_name(asked[0] or study.name, ending=".html"), "text/html", lambda: state.version(study), width="stretch",
    )  # fmt: skip


def _tables(study: Study, runs: list[str]) -> None:
    key = ("zipped", str(study.folder), *runs)
    download(
        key, ("Pack the tables", "Packing the tables"), lambda show: _zip(study, runs, show),
        "Download tables (CSV and Parquet)", file_name(study.name, ending="-tables.zip"), "application/zip",
        lambda: state.version(study), width="stretch",
    )  # fmt: skip


def _report(study: Study, asked: tuple, show: Progress) -> bytes:
    name, notes, runs, sections, concepts = asked
    show(0, 1, "drawing figures, reading examples")
    with state.model_lock(study), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(study, path, concepts=concepts, notes=notes, title=name, runs=runs, sections=sections)
        return path.read_bytes()


def _zip(study: Study, runs: list[str], show: Progress) -> bytes:
    show(0, 1, "writing CSV and Parquet")
    with tempfile.TemporaryDirectory() as folder:
        return zip_tables(study, Path(folder) / "tables.zip", runs).read_bytes()


def _recipe(study: Study, asked: tuple) -> None:
    name, _, runs, sections, concepts = asked
    with st.expander("The same from a script"):
        options = f"title={name!r}, runs={list(runs)!r}, sections={list(sections)!r}, concepts={list(concepts)!r}"
        st.code(f"study.report({file_name(name or study.name, ending='.html')!r}, {options})", language="python", wrap_lines=True)
