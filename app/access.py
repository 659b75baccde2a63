"""Who may read and who may write. Without sign-in the app listens on this machine only, and everyone who reaches it may do
both."""

from __future__ import annotations

import streamlit as st

from workbench.serving import Serving
from workbench.study import Study

HOW = "Whoever serves the app names editors: `workbench app --editor ADDRESS`, or [workbench] editors in .streamlit/secrets.toml."


def known() -> bool:
    """Whether whoever this session belongs to may see studies."""
    return not Serving.current().providers or st.user.get("is_logged_in") is True


def is_editor() -> bool:
    """Whether whoever this session belongs to may write."""
    settings = Serving.current()
    if not settings.providers:
        return True
    # An address that its provider has not verified may be anybody's.
    verified = known() and st.user.get("email_verified") is not False
    return verified and str(st.user.get("email", "")).strip().lower() in settings.editors


def refusal(study: Study) -> str:
    """Why this session may not write into a study, as a sentence; empty where it may."""
    if not is_editor():
        return f"You may read this study and not change it. {HOW}"
    if study.read_only:
        return "This study can only be read: whoever serves the app may not write into its folder."
    return ""
