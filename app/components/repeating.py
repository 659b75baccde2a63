"""Repeating a run: the button that starts it, and how the results agree with those of the first."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.page import empty, heading, sentences
from app.components.text import literal, short
from app.writer import writer_of
from workbench.jobs import jobs
from workbench.store.runs import Run
from workbench.study import Study

DIFFERENCES = {"difference": "Largest difference", "share": "As a share"}


def repeat_button(study: Study, run: Run) -> None:
    """Do a finished run again, in a process of its own, as it was configured; nothing where one may only read."""
    if (writer := writer_of(study)) is None:
        return
    with st.expander("Do it again, and see whether it finds the same"):
        about = "How far a number may be off, as a share of the largest in its column or tensor. With 0, every bit counts."
        tolerance = st.number_input("Tolerance", 0.0, None, 0.0, format="%g", help=about, key=f"tolerance {run.id}", width=240)
        going = any(job.asked.get("repeats") == run.id and job.status == "running" for job in jobs(study))
        if st.button("Repeat this run", icon=":material/replay:", disabled=going, key=f"repeat {run.id}"):
            with sentences():
                writer.repeat(run.id, tolerance)
                st.rerun()


def repetition(study: Study, run: Run) -> None:
    """Of a run that repeats another, how the two agree; of any other run, nothing."""
    first = str(run.record["provenance"].get("repeats") or "")
    if not first:
        return
    heading("Does it come out again?", "Every table and tensor of this run beside that of the run which it repeats.")
    link = {"study": state.link()["study"], "run": first}
    st.page_link(state.page("runs"), label=literal(f"repeats {first}"), query_params=link, icon=":material/replay:")
    table = _compared(str(study.folder), first, run.id, study)
    if table.empty:
        empty("Neither run has a table or a tensor.")
        return
    exact, every = int(table["exact"].sum()), len(table)
    sentence = f"{exact:,} of {every:,} tables and tensors are the same to the bit."
    (st.success if exact == every else st.warning)(sentence)
    shown = table.drop(columns="agrees").assign(part=table["part"].map(short), where=table["where"].map(short))
    config: dict[str, Any] = {
        column: st.column_config.NumberColumn(label, format="%.3g") for column, label in DIFFERENCES.items()
    }
    config |= {"part": "Part", "exact": "To the bit", "where": "Where"}
    st.dataframe(
        shown.sort_values("share", ascending=False, na_position="first", kind="stable"), hide_index=True, placeholder="–",
        column_config=config, height=min(320, 38 + 35 * every),
    )  # fmt: skip


@st.cache_resource(max_entries=16, show_spinner="Holding the two runs against one another …")
def _compared(folder: str, first: str, second: str, _study: Study) -> pd.DataFrame:
    from workbench.repeating import compared

    return compared(_study.get_run(first), _study.get_run(second), 0.0)
