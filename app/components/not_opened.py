"""The page of a study that cannot be opened: why, what can be done about it, and the way to the others."""

from __future__ import annotations

import streamlit as st

from app.access import is_editor
from app.components.page import empty, sentences, study_switch, title
from app.components.text import literal, sentence
from app.writer import trust_study
from workbench.errors import NotTrustedError, WorkbenchError


def not_opened(error: WorkbenchError) -> None:
    """Show why, and ask for confirmation if the study only needs to be trusted."""
    title(st.session_state.get("study", "Study"), "This study cannot be opened.")
    if isinstance(error, NotTrustedError):
        _question(error)
    else:
        st.error(sentence(error))
    study_switch()


def _question(error: NotTrustedError) -> None:
    asked = [f"It would contact {place}." for place in error.places]
    if error.side_files:
        asked.append("Its catalog was not closed, and SQLite would change it by the files that lie beside it.")
    st.warning(literal(f"It comes from elsewhere and was not opened here before. {' '.join(asked)}", 1500))
    if not is_editor():
        empty("Somebody who may write has to say yes first.")
        return
    if st.button("I trust it: open it", icon=":material/check:"):
        with sentences():
            trust_study(error.study)
            st.rerun()
