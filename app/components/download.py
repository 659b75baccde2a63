"""A file that is made in the background, and then offered to be saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from app import jobs
from app.notes import show_notes
from workbench.progress import Progress

MIB = 2**20


def download(
    key: tuple[str, ...],
    make: tuple[str, str],
    do: Callable[[Progress], bytes],
    save: str,
    name: str,
    mime: str,
    version: Callable[[], object] = lambda: None,
    **look: Any,
) -> None:
    """A button that makes a file and, once it is made, one that saves it.

    Args:
        key: The job's; a file is made once for each, and again where `version` gives something else than when it was done.
        make: What the first button says, and what is then done.
        do: Makes the file's content.
        save: What the second button says.
        name: What the file is called.
        mime: The file's type.
        version: What the file depends on besides; making it may change that, as a report that compares methods does.
        look: Passed to ``st.button``, such as ``width`` and ``help``.
    """
    job = jobs.find_job(key)
    if job is not None and job.finished and not job.error and job.result[1] != version():
        jobs.forget(key)
        job = None
    if job is not None and job.finished and not job.error:
        content = job.result[0]
        show_notes(job.notes)
        st.download_button(
            f"{save}, {len(content) / MIB:.1f} MiB", content, file_name=name, mime=mime, icon=":material/download:",
            on_click="ignore", type="primary", key=f"save {key}", width=look.get("width", "content"),
        )  # fmt: skip
        return
    jobs.button(key, make[0], make[1], lambda show: (do(show), version()), icon=":material/description:", **look)


def file_name(*parts: str, ending: str) -> str:
    """A name that any system takes."""
    return "-".join(re.sub(r"[^\w.-]+", "_", part)[:80] for part in parts) + ending
