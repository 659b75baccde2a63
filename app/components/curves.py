"""Figures of one concept."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.charts import chart
from app.components.page import heading
from app.components.text import short
from workbench.plots import dose_curve, value_histogram
from workbench.store.concept import Concept


def dose_curves(concept: Concept, evidence: pd.DataFrame) -> None:
    """What steering along the concept did to the readout, where that was measured."""
    for run_id in list(dict.fromkeys(evidence["run"]))[::-1]:
        run = concept.study.get_run(run_id)
        if "curves" not in run.tables:
            continue
        table = run.tables.where("curves", "concept = ?", [concept.id])
        if len(table):
            label = short(table["label"].iloc[0], 60)
            about = (
                "The concept is added to the activations, in multiples of their deviation from the mean; grey: random directions."
            )
            heading(f"Dose and effect on the readout of {label}", about)
            figure = dose_curve(table, "").update_layout(legend={"y": -0.34}, height=340)
            chart(figure, f"dose {concept.id}")
            return


def activations(concept: Concept) -> None:
    """How often and how strongly it is present."""
    summary = concept.summary()
    about = ""
    if len(summary):
        about = f"Above zero in {100 * float(summary['density']):.2f}% of the rows that are not in the test split."
    heading("Activation", about)
    table = concept.histogram()
    if len(table):
        chart(value_histogram(table, ""), f"histogram {concept.id}")
    else:
        st.html('<div class="cw-soft">It was never present.</div>')
