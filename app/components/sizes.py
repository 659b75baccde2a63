"""Disk usage of a study, and deleting runs and activations after showing what depends on them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import jobs
from app.components.page import heading
from app.components.sign_in import no_writing
from app.components.text import literal, sentence, short
from app.writer import Writer, writer_of
from workbench.errors import WorkbenchError
from workbench.memory import size_text
from workbench.study import Study

SHOWN = 500


def size(study: Study) -> None:
    """The parts of a study by their size, and a form that deletes some."""
    heading("What takes how much", "Every file in the study's folder, counted once; what is at a remote is not.")
    table = study.usage()
    st.dataframe(
        pd.DataFrame(
            {
                "Part": table["part"],
                "Name": table["name"].map(short),
                "What": table["what"].map(short),
                "Files": table["files"],
                "Size": table["bytes"].map(size_text),
                "Needed by": table["needed_by"],
            }
        ).head(SHOWN),
        hide_index=True,
        height=min(420, 38 + 35 * len(table)),
    )
    st.html(f'<div class="cw-soft cw-small">{size_text(table["bytes"].sum())} in all.</div>')
    heading("Delete", "Runs and activations. The record that they were stays, and what people wrote is kept in a file.")
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    _delete(study, writer, table)


def _delete(study: Study, writer: Writer, table: pd.DataFrame) -> None:
    key = ("delete", str(study.folder))
    job = jobs.find_job(key)
    if job is not None and job.finished and not job.error:
        gone: pd.DataFrame = job.result
        st.success(literal(f"Deleted, {size_text(gone['bytes'].sum())}: {', '.join(gone['name'].head(20))}.", 3000))
    names = table.loc[table["part"].isin(["run", "activations"]), "name"].tolist()
    chosen = [name for name in st.multiselect("Runs and activations", names, key="to delete", format_func=short) if name in names]
    if not chosen:
        return
    try:
        plan = writer.would_delete(chosen)
    except WorkbenchError as error:
        st.error(sentence(str(error)))
        return
    below = plan[plan["why"].ne("asked for")]
    agreed = True
    if len(below):
        st.warning(literal(f"{len(below):,} other things depend on these, and would go as well:", 200))
        st.dataframe(
            pd.DataFrame({column.capitalize(): below[column].map(short) for column in ("part", "name", "what", "why")}),
            hide_index=True,
        )
        agreed = st.checkbox("Delete these as well", key=f"delete below {chosen}")
    jobs.button(
        key, f"Delete {size_text(plan['bytes'].sum())}", "Deleting", lambda show: writer.delete(chosen, bool(len(below)), show),
        icon=":material/delete:", type="primary", disabled=not agreed,
    )  # fmt: skip
