"""Layers: any measurement that was made at several sites of the model, with its interval and its null."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components import by_site
from app.components.page import empty, sentences, title
from app.components.text import short
from app.tables import all_declared, metric_frame
from workbench.analysis import Metric
from workbench.study import Study


def render(study: Study) -> None:
    """The lines over the layers."""
    title("Layers", "Where in the model a label can be read: measurements over the sites, from the first layer to the last.")
    with sentences():
        frame = metric_frame(study)
        metrics = by_site.sited(frame, all_declared(study))
        if metrics:
            _measurement(study, frame, metrics)
        else:
            command = f"workbench run {study.name} linear_probe"
            empty("No run has measured anything by layer yet. Probes do, for instance:", command)


def _measurement(study: Study, frame: pd.DataFrame, metrics: dict[str, Metric]) -> None:
    left, right = st.columns([1, 2])
    with left:
        key = st.selectbox(
            "Measurement", list(metrics), format_func=lambda k: by_site.metric_name(metrics[k]), key="measurement",
            bind="query-params",
        )  # fmt: skip
    rows = frame[frame["metric"].eq(key) & frame["site"].ne("")]
    with right:
        runs = by_site.run_choice(rows, "runs")
    by_site.about(metrics[key])
    rows = rows[rows["run"].isin(runs)]
    if rows.empty:
        empty("Choose a run to see what it measured.")
        return
    rows = rows.assign(series=by_site.series_of(rows))
    every = sorted(rows["series"].unique())
    chosen = st.multiselect(
        "Labels", every, default=by_site.spread(rows), format_func=lambda s: short(s, 120), wrap=True,
        key=f"labels {study.folder} {key} {runs}",
    )  # fmt: skip
    rows = rows[rows["series"].isin(chosen)]
    if rows.empty:
        empty("Choose a label to see its line.")
        return
    by_site.draw(rows, by_site.metric_name(metrics[key]), f"layers {study.folder}", metrics[key].chance)
    by_site.table(rows, metrics[key])
