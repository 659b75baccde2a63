"""Sign-in, who is signed in, and what a page says to those who may only read."""

from __future__ import annotations

import streamlit as st

from app import access
from app.components.page import empty, title
from app.components.text import escape, literal
from workbench.serving import Serving
from workbench.study import Study


def signed_in() -> bool:
    """Whether this session may see studies; where it may not, the page asks to sign in."""
    providers = Serving.current().providers
    if access.known():
        if providers:
            _who()
        return True
    title("Sign in", "The studies are shown to those who have signed in.")
    for provider in providers:
        if st.button(literal(f"Sign in with {provider}") if provider else "Sign in", key=f"sign in {provider}", type="primary"):
            st.login(provider or None)
    return False


def no_writing(study: Study) -> None:
    """What a page says in the place of what would write."""
    empty(access.refusal(study))


def _who() -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
        may = "who may write" if access.is_editor() else "who may read"
        st.html(f'<span class="cw-soft cw-small">{escape(st.user.get("email"), 120)}, {may}</span>', width="content")
        if st.button("Sign out", type="tertiary"):
            st.logout()
