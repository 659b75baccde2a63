"""Analyses that run in a process of their own: how far they are, what they print, and the button that stops them."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.page import sentences
from app.components.text import escape, literal
from app.writer import writer_of
from workbench.errors import UnknownNameError
from workbench.jobs import Job, find_job, jobs
from workbench.study import Study

POLL_SECONDS = 1.0
ENDED_SHOWN = 3
TAIL = 30
WORDS = {"done": "is done", "failed": "failed", "cancelled": "was stopped"}


def running(study: Study) -> bool:
    """Show every job that runs, and those that ended last; say whether any runs."""
    every = jobs(study)
    going = [job for job in every if job.status == "running"]
    for job in going:
        _going(study, job.id)
    seen: set[str] = st.session_state.setdefault(f"dismissed {study.folder}", set())
    ended = [job for job in every if job.status != "running" and job.id not in seen]
    for job in ended[:ENDED_SHOWN]:
        _ended(study, job)
    return bool(going)


def job_name(job: Job) -> str:
    """Analysis, sites and when it was asked for, in one line."""
    asked = job.asked
    sites = ", ".join(asked.get("sites", [])) or "all sites"
    when = str(asked.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    repeats = f"repeating {asked['repeats']}, " if "repeats" in asked else ""
    return f"{asked.get('analysis', '')} at {sites}, {repeats}asked for at {when}"


@st.fragment(run_every=POLL_SECONDS)
def _going(study: Study, identifier: str) -> None:
    try:
        job = find_job(study, identifier)
    except UnknownNameError:
        st.rerun()
    if job.status != "running":
        # What it found is on the page only when the page is drawn anew.
        st.rerun()
    with st.container(border=True):
        st.html(f"<b>{escape(job_name(job), 300)}</b>")
        st.progress(min(1.0, job.done / max(job.total, 1)), text=literal(job.text or "starting: loading libraries", 160))
        writer = writer_of(study)
        if writer is not None and st.button("Stop", icon=":material/stop_circle:", key=f"stop {job.id}"):
            with sentences(), st.spinner("Stopping …"):
                writer.stop(job.id)
            st.rerun()
        _log(job)


def _ended(study: Study, job: Job) -> None:
    text = literal(f"{job_name(job)} {WORDS[job.status]}. {job.error}", 900)
    with st.container(border=True):
        if job.status == "done":
            st.success(f"{text} Its run is {literal(job.run, 128)}.")
            _remarks(job)
        elif job.status == "cancelled":
            st.info(text)
        else:
            st.error(text)
        if job.status == "failed":
            _log(job)
        if st.button("Dismiss", key=f"dismiss {job.id}", type="tertiary"):
            st.session_state[f"dismissed {study.folder}"].add(job.id)
            st.rerun()


def _remarks(job: Job) -> None:
    """What a repetition has to say; the run's own page shows where it differs."""
    for remark in job.remarks:
        (st.warning if job.agrees is False else st.info)(literal(remark, 900))
    if job.run:
        link = {"study": state.link()["study"], "run": job.run}
        st.page_link(state.page("runs"), label="Open it", query_params=link, icon=":material/arrow_forward:")


def _log(job: Job) -> None:
    with st.expander("What it printed"):
        lines = job.log().replace("\r", "\n").splitlines()[-TAIL:]
        shown = "<br>".join(escape(line, 300) for line in lines) or "Nothing yet."
        st.html(f'<div class="cw-code cw-log">{shown}</div>')
