"""Calibration: whether p values, intervals and nulls hold where the truth is known."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.components.page import empty, title
from app.components.text import escape
from workbench.evidence.calibration import calibration, date, sentence
from workbench.study import Study


def render(_study: Study) -> None:
    """The table of one score, or of all."""
    title("Calibration", f"Scores tried where the truth is known, on {date()}; make bench NAME=calibration measures it again.")
    table = calibration()
    names = list(dict.fromkeys(table["metric"]))
    if not names:
        empty("It has not been measured yet:", "make bench NAME=calibration")
        return
    chosen = st.selectbox("Score", ["all", *names], key="score", bind="query-params")
    shown = table if chosen == "all" else table[table["metric"].eq(chosen)]
    if chosen != "all":
        st.html(f'<div class="cw-soft">{escape(sentence(str(chosen)), 400)}</div>')
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {
        "metric": "Score", "setting": "Setting", "what": st.column_config.TextColumn("What", width="large"),
        "draws": number("Draws", format="localized"), "value": number("Measured", format="%.4f"),
        "limit": number("Limit", format="%.4f"), "holds": "Holds", "date": "Measured on",
    }  # fmt: skip
    st.dataframe(shown, hide_index=True, column_config=config, height=min(700, 38 + 35 * len(shown)))
    st.html(
        '<div class="cw-soft cw-small">p &lt;= .05: how often a score with nothing to find was significant; the limit is what'
        " chance gives at the nominal rate, simultaneously over the whole table. Interval covers: how often a 95% interval held"
        " the truth. Power: how often something planted was found, beside a reference test on the same draws.</div>"
    )
