"""Who reads and who writes. Without sign-in the app listens on this machine only, and everyone who reaches it does both."""

from __future__ import annotations

import streamlit as st

from app.components.page import empty, title
from app.components.text import escape, literal
from workbench.serving import Serving
from workbench.store.study import Study

HOW = "Whoever serves the app names editors: `workbench app --editor ADDRESS`, or [workbench] editors in .streamlit/secrets.toml."


def signed_in() -> bool:
    """Whether this session may see studies; where it may not, the page asks to sign in."""
    providers = Serving.current().providers
    if not providers:
        return True
    if st.user.get("is_logged_in") is True:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
            who = "may write" if is_editor() else "may read"
            st.html(f'<span class="cw-soft cw-small">{escape(st.user.get("email"), 120)}, who {who}</span>', width="content")
            if st.button("Sign out", type="tertiary"):
                st.logout()
        return True
    title("Sign in", "The studies are shown to those who have signed in.")
    for provider in providers:
        if st.button(literal(f"Sign in with {provider}") if provider else "Sign in", key=f"sign in {provider}", type="primary"):
            st.login(provider or None)
    return False


def is_editor() -> bool:
    """Whether whoever this session belongs to may write."""
    settings = Serving.current()
    if not settings.providers:
        return True
    # An address that its provider has not verified may be anybody's.
    known = st.user.get("is_logged_in") is True and st.user.get("email_verified") is not False
    return known and str(st.user.get("email", "")).strip().lower() in settings.editors


def refusal(study: Study) -> str:
    """Why this session may not write into a study, as a sentence; empty where it may."""
    if not is_editor():
        return f"You may read this study and not change it. {HOW}"
    if getattr(study, "read_only", False):
        return "This study can only be read: it was opened without the right to change it."
    return ""


def no_writing(study: Study) -> None:
    """What a page says in the place of what would write."""
    empty(refusal(study))
