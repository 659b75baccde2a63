"""The button that builds a report and the one that saves it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import streamlit as st

from app import jobs, state
from app.components.text import literal
from workbench.analysis import Progress
from workbench.store.study import Study


def report_button(study: Study, concept: str | None = None) -> None:
    """Build the report of a study, or of one concept in it, and offer it as a file."""
    key = ("report", str(study.folder), concept or "", str(state.version(study)))
    job = jobs.find_job(key)
    if job is not None and job.finished and not job.error:
        st.download_button(
            "Download report (HTML)", job.result, file_name=_file_name(study, concept), mime="text/html",
            icon=":material/download:", on_click="ignore", key=f"download {key}",
        )  # fmt: skip
        return
    busy = job is not None and not job.finished
    what = "A page of this concept" if concept else "The whole study"
    if st.button(
        "Build report", icon=":material/description:", disabled=busy, key=f"report {key}",
        help=f"{what} as one HTML file that opens without a network.",
    ):  # fmt: skip
        jobs.start(key, "Building the report", lambda show: build(study, concept, show))
        st.rerun()
    if busy:
        jobs.watch(key)
    if job is not None and job.finished and job.error:
        st.error(literal(job.error, 900))


def build(study: Study, concept: str | None, show: Progress) -> bytes:
    """The report's bytes."""
    show(0, 1, "comparing methods, drawing figures")
    with state.model_lock(study), tempfile.TemporaryDirectory() as folder:
        path = study.report(Path(folder) / "report.html", concepts=[concept] if concept else None)
        return path.read_bytes()


def _file_name(study: Study, concept: str | None) -> str:
    parts = [study.name] + ([concept] if concept else [])
    return "-".join(re.sub(r"[^\w.-]+", "_", part)[:60] for part in parts) + ".html"
