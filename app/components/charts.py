"""Figures on a page, in the colours of the theme that the reader has chosen."""

from __future__ import annotations

from typing import Any

import streamlit as st

from workbench.plots import themed

CONFIG = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def chart(figure: Any, key: str) -> None:
    """Show a figure of plotly."""
    # Streamlit's own theme would put its colours over those that the figures share with the report.
    shown = themed(figure, dark=st.context.theme.type == "dark")
    st.plotly_chart(shown, config=CONFIG, theme=None, key=key)
