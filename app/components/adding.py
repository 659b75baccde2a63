"""Uploading a packed study, which is added to the studies that are served."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import streamlit as st

from app import state
from app.access import HOW, is_editor
from app.components.page import empty, heading
from app.components.uploads import called_as_uploaded, saved
from app.writer import add_study
from workbench.serving import served_folders
from workbench.store.members import STUDY_FILE


def add_packed() -> None:
    """Upload a packed study, and open it."""
    heading("Add a packed study", "One file, as `workbench pack` and the page for data write it. It becomes a folder of its own.")
    if not is_editor():
        empty(f"You may read and add nothing. {HOW}")
        return
    home = next((folder.resolve() for folder in served_folders() if not (folder / STUDY_FILE).is_file()), None)
    if home is None:
        empty("The app was started with single studies. Start it with a folder of studies to add one:", "workbench app FOLDER")
        return
    with st.form("add a study", border=True):
        file = st.file_uploader("A packed study", type=["zip"], key="packed study")
        name = st.text_input("What to call it", max_chars=60, placeholder="as its file", key="packed name").strip()
        go = st.form_submit_button("Add", icon=":material/add:", type="primary")
    if not go:
        return
    if file is None:
        st.warning("Choose a file first.")
        return
    called = re.sub(r"[^\w-]+", "_", name or Path(file.name).stem).strip("_") or "study"
    with tempfile.TemporaryDirectory() as scratch, called_as_uploaded(Path(scratch)), st.spinner("Unpacking …"):
        add_study(saved([file], Path(scratch) / "packed")[0], home / called)
    st.switch_page(state.page("overview"), query_params={"study": called})
