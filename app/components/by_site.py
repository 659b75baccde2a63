"""Measurements by the site of the model, whatever analysis made them: which there are, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.components.charts import chart
from app.components.text import escape, short
from app.tables import site_order
from workbench.analysis import Metric
from workbench.numbers import p_value
from workbench.plots import COLOURS, site_bands
from workbench.statistics.rows import P_VALUES, SHOWN

SERIES = 6


def sited(frame: pd.DataFrame, known: dict[str, Metric], fits: Callable[[Metric], bool] = lambda _: True) -> dict[str, Metric]:
    """The metrics that were measured at a site and are declared, those over the most sites first."""
    counts = frame[frame["site"].ne("")].groupby("metric")["site"].nunique()
    found = [key for key in known if key in counts.index and fits(known[key])]
    return {key: known[key] for key in sorted(found, key=lambda k: (not known[k].shown, -counts[k]))}


def metric_name(metric: Metric) -> str:
    """Its title with its unit."""
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def run_choice(frame: pd.DataFrame, key: str) -> list[str]:
    """Ask which runs to draw; the newest first run of each analysis when nobody chose."""
    runs = list(dict.fromkeys(frame["run"]))[::-1]
    if len(runs) < 2:
        return runs
    widest = frame.groupby("run")["site"].nunique()
    best = max(runs, key=lambda r: widest[r])
    return st.multiselect("Runs", runs, default=[best], format_func=lambda r: short(r, 80), key=key, bind="query-params")


def series_of(frame: pd.DataFrame) -> pd.Series:
    """What each row is a measurement of: its label, its class, and its run where several are drawn."""
    name = frame["label"].where(frame["label"].ne(""), "all")
    name = name.where(frame["class"].eq(""), name + " → " + frame["class"])
    return name + " · " + frame["run"] if frame["run"].nunique() > 1 else name


def spread(frame: pd.DataFrame, count: int = SERIES) -> list[str]:
    """Some of the series, evenly from the largest to the smallest: the largest alone would be one line at the top."""
    best = frame.groupby("series")["value"].max().sort_values(ascending=False)
    return [str(best.index[i]) for i in np.unique(np.linspace(0, len(best) - 1, min(count, len(best))).astype(int))]


def draw(rows: pd.DataFrame, y_title: str, key: str, chance: float | None = None) -> None:
    """The lines with their bands, over the sites in the order in which the model computes them."""
    sites = sorted(set(rows["site"]), key=site_order)
    order = {site: i for i, site in enumerate(sites)}
    rows = rows.sort_values("site", key=lambda s: s.map(order), kind="stable")
    if rows["series"].nunique() > len(COLOURS):
        st.html(f'<div class="cw-soft">Only {len(COLOURS)} lines can be told apart: the first {len(COLOURS)} are drawn.</div>')
        rows = rows[rows["series"].isin(list(dict.fromkeys(rows["series"]))[: len(COLOURS)])]
    chart(site_bands(rows, y_title, sites, chance), key)
    if rows["null"].isna().all() and rows["null_high"].isna().all():
        st.html(
            '<div class="cw-soft cw-small">No null was recorded for this measurement, so nothing says what chance gives.</div>'
        )


def table(rows: pd.DataFrame, metric: Metric) -> None:
    """The numbers behind the lines."""
    columns = ["series", "site", *SHOWN, "run"]
    shown = rows[[c for c in columns if c == "series" or rows[c].notna().any()]].assign(
        series=[short(s) for s in rows["series"]], site=[short(s) for s in rows["site"]], run=[short(r, 128) for r in rows["run"]]
    )
    number = st.column_config.NumberColumn
    shown = shown.assign(**{c: shown[c].map(p_value) for c in P_VALUES if c in shown})
    config = measurement_columns() | {"value": number(metric_name(metric), format="%.3f")}
    config |= {"series": "Label", "site": "Site", "run": "Run"}
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", height=min(420, 38 + 35 * len(shown)))


def measurement_columns() -> dict[str, Any]:
    """How a table shows the columns of measurements."""
    number = st.column_config.NumberColumn
    names = {"value": "Value", "low": "95% from", "high": "to", "null": "Null", "null_high": "Null, 95th"}
    counts = {"n": "n", "clusters": "Clusters", "clusters_positive": "Rarer class"}
    found: dict[str, Any] = {key: number(name, format="%.3f") for key, name in names.items()}
    found |= {key: number(name, format="localized") for key, name in counts.items()}
    return found | {"p": "p", "p_corrected": "Corrected p"}


def about(metric: Metric) -> None:
    """What a metric means, in the analysis's own words."""
    st.html(f'<div class="cw-soft cw-small">{escape(metric.description, 900)}</div>')
