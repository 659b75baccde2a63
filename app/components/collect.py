"""Put concepts into a collection: a named list, such as those that a report is to show."""

from __future__ import annotations

import streamlit as st

from app.components.page import sentences
from app.components.text import literal, short
from app.writer import writer_of
from workbench.study import Study

MOST = 200


def collect(study: Study, ids: list[str], key: str) -> None:
    """A choice of a collection, old or new, and the button that puts the concepts into it; nothing where one may only read."""
    if (writer := writer_of(study)) is None:
        return
    many = f"these {len(ids):,} concepts" if len(ids) > 1 else "this concept"
    with st.form(f"collect {key}", border=False):
        name = st.selectbox(
            "Collection", study.collections.names(), index=None, accept_new_options=True,
            placeholder="Choose one, or type a new name", format_func=lambda n: short(n, 80), key=f"collection {key}",
        )  # fmt: skip
        if st.form_submit_button(f"Add {many}", icon=":material/playlist_add:", disabled=len(ids) > MOST):
            with sentences():
                writer.collect(name or "", ids, st.session_state.get("author") or "someone")
                st.success(f"Added to {literal(name or '', 200)}; the report page can show them.")
    if len(ids) > MOST:
        st.html(f'<div class="cw-soft cw-small">A collection takes at most {MOST} at once: filter the list first.</div>')
