"""Verifying a study and its remote, and repairing it after confirmation."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import jobs, state
from app.components.page import empty, heading
from app.components.sign_in import no_writing
from app.components.text import escape, literal, short
from app.writer import Writer, writer_of
from workbench.frames import records
from workbench.progress import Progress
from workbench.store.members import STUDY_FILE
from workbench.store.study_file import read
from workbench.study import Study

ICONS = {"broken": "▲ broken", "unfinished": "◌ unfinished", "unchecked": "○ unchecked"}
NAMES_SHOWN = 20
WHAT_REPAIR_DOES = (
    "What is broken is fetched from the remote where it is whole there, and dropped otherwise: damaged rows can be captured"
    " again, and a damaged run goes with its concepts and with the runs made from it. Names, notes and collections that people"
    " gave to dropped concepts are first written to dropped-….json in the study's folder."
)


def whole(study: Study) -> None:
    """Read every byte of the study, show what is wrong, and mend it when asked."""
    heading(
        "Is it whole?",
        "Every file is held against its checksum, and the catalog against the folder. What is broken is never read as data.",
    )
    content = bool(study.remote) and st.toggle(
        "Read every byte at the remote too", key="remote content", help="Otherwise only what is there, and how long it is."
    )
    key = ("verify", str(study.folder), str(content), str(state.version(study)))
    repairing = ("repair", str(study.folder))
    job = jobs.button(
        key, "Check everything", "Checking", lambda show: _verify(study, content, show), icon=":material/fact_check:"
    )
    if job is None:
        _repaired(jobs.find_job(repairing))
        return
    found: pd.DataFrame = job.result
    broken = found["state"].eq("broken")
    if found.empty:
        st.success("Nothing is broken, and nothing is unfinished.")
        return
    (st.error if broken.any() else st.info)(_counted(found))
    _findings(found)
    if broken.any() and (writer := writer_of(study)) is not None:
        st.html(f'<div class="cw-soft">{escape(WHAT_REPAIR_DOES, 900)}</div>')
        jobs.button(
            repairing, "Mend or drop what is broken", "Mending", lambda show: _repair(writer, content, key, show),
            icon=":material/build:", type="primary",
        )  # fmt: skip


def remote(study: Study) -> None:
    """Copy the study to its remote and back."""
    heading(
        "Remote",
        "A place that has a copy of every finished run and whole set, such as a bucket. Only what is deleted here goes there.",
    )
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    known = read(study.folder / STUDY_FILE, study.name).remote
    if known:
        st.html(f'<div class="cw-code">{escape(known, 600)}</div>')
        address = known
    else:
        about = "Keys do not belong in it: the library of the place finds them where it always does."
        address = st.text_input("Address", placeholder="s3://bucket/prefix", help=about, key="remote address").strip()
    pushed = jobs.button(
        ("push", str(study.folder), address), "Copy to the remote", "Copying", lambda show: writer.push(address, show),
        icon=":material/cloud_upload:", disabled=not address,
    )  # fmt: skip
    if pushed is not None:
        _moved("Copied", "Everything is there already.", pushed.result)
    if not known:
        return
    pulled = jobs.button(
        ("pull", str(study.folder)), "Copy from the remote", "Copying", writer.pull,
        icon=":material/cloud_download:",
    )  # fmt: skip
    if pulled is not None:
        _moved("Copied", "Everything is here already.", pulled.result)


def _verify(study: Study, content: bool, show: Progress) -> pd.DataFrame:
    return study.verify(content, show)


def _repair(writer: Writer, content: bool, checked: tuple[str, ...], show: Progress) -> pd.DataFrame:
    done = writer.repair(content, show)
    # Earlier findings are outdated.
    jobs.forget(checked)
    return done


def _counted(found: pd.DataFrame) -> str:
    counts = found["state"].value_counts()
    return f"{', '.join(f'{counts[state]:,} {state}' for state in ICONS if state in counts)}."


def _findings(found: pd.DataFrame) -> None:
    table = pd.DataFrame(
        {
            "State": found["state"].map(ICONS),
            "Of": found["part"],
            "Name": found["name"].map(short),
            "File": found["file"].map(short),
            "What is wrong": [short(problem, 400) for problem in found["problem"]],
        }
    )
    st.dataframe(table, hide_index=True, height=min(420, 38 + 35 * len(table)))


def _repaired(job: jobs.Job | None) -> None:
    if job is None or not job.finished or job.error:
        return
    done: pd.DataFrame = job.result
    if done.empty:
        empty("There was nothing to mend.")
        return
    for row in records(done.head(NAMES_SHOWN)):
        line = literal(f"{row['part']} {row['name']}: {row['action']}", 700)
        (st.success if row["mended"] else st.warning)(line)
    if len(done) > NAMES_SHOWN:
        st.html(f'<div class="cw-soft cw-small">And {len(done) - NAMES_SHOWN:,} more.</div>')


def _moved(verb: str, nothing: str, names: list[str]) -> None:
    if not names:
        st.success(nothing)
        return
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    st.success(literal(f"{verb} {', '.join(names[:NAMES_SHOWN])}{more}.", 3000))
