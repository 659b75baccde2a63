"""Data: which activations the study holds, whether all of it is whole, what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from app import jobs
from app.components.adding import add_packed
from app.components.exchange import export, import_activations
from app.components.integrity import remote, whole
from app.components.labelling import choose_labels
from app.components.page import empty, heading, sentences, title
from app.components.sizes import size
from app.components.text import literal, short
from app.writer import writer_of
from workbench.activations import ActivationSet
from workbench.memory import size_text
from workbench.study import Study

TASKS: dict[str, Callable[[Study], None]] = {
    "Is it whole?": whole,
    "Labels": choose_labels,
    "Import activations": import_activations,
    "Export": export,
    "Size": size,
    "Remote": remote,
    "Add a study": lambda _study: add_packed(),
}


def render(study: Study) -> None:
    """The activation sets, and one task at a time."""
    title("Data", "Activations of this study, whether everything is whole, and what comes in and goes out.")
    with sentences():
        _sets(study)
    task = st.segmented_control(
        "Task",
        list(TASKS),
        default=next(iter(TASKS)),
        required=True,
        key="task",
        bind="query-params",
        label_visibility="collapsed",
    )
    with sentences():
        TASKS[str(task)](study)


def _sets(study: Study) -> None:
    heading("Activations")
    sets = study.activations()
    if not sets:
        empty(
            "There are no activations yet. Import some below, or capture some:",
            f"workbench capture {study.name} --model … --data …",
        )
        return
    table = pd.DataFrame(
        {
            "Data": [short(acts.dataset_record["name"], 80) for acts in sets],
            "Model": [short(acts.manifest.model["name"], 80) for acts in sets],
            "Examples": [acts.n_examples for acts in sets],
            "Rows": [acts.n_rows for acts in sets],
            "By": [acts.pool for acts in sets],
            "Sites": [", ".join(map(str, acts.sites)) for acts in sets],
            "Under": [short(acts.under, 200) for acts in sets],
            "Numbers": [acts.manifest.request.dtype for acts in sets],
            "Size": [size_text(_bytes(acts)) for acts in sets],
            "Rows are": ["left out" if acts.left_out else "here" for acts in sets],
            "Id": [acts.id for acts in sets],
        }
    )
    counts = {column: st.column_config.NumberColumn(format="localized") for column in ("Examples", "Rows")}
    st.dataframe(table, hide_index=True, column_config=counts, height=min(260, 38 + 35 * len(table)))
    if any(acts.left_out for acts in sets):
        _recapture(study)


def _bytes(acts: ActivationSet) -> int:
    return sum(length or 0 for length in acts.manifest.lengths().values())


def _recapture(study: Study) -> None:
    """Rows that were left out when the study was packed are made again by the model, or fetched from the remote."""
    if (writer := writer_of(study)) is None:
        return
    job = jobs.button(
        ("recapture", str(study.folder)), "Capture what was left out", "Capturing", writer.recapture,
        icon=":material/refresh:", help="The study's model reads its texts again; the rows are the same.",
    )  # fmt: skip
    if job is not None:
        st.success(literal(f"Captured again: {', '.join(job.result) or 'nothing was left out'}."))
