"""Information: how many bits of a label the activations hold, layer by layer, beside what permuted labels give."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components import by_site
from app.components.page import empty, heading, sentences, title
from app.components.text import escape, literal, short
from app.tables import INFORMATION, all_declared, metric_frame
from workbench.analysis import Metric
from workbench.store.study import Study


def render(study: Study) -> None:
    """One label over the layers by every estimator, then all labels."""
    title("Information", "How much the activations say about a label, by every estimator that was run, with the floor of each.")
    with sentences():
        frame = metric_frame(study)
        metrics = by_site.sited(frame, all_declared(study), lambda m: m.unit in INFORMATION)
        if not metrics:
            command = f"workbench run {study.name} mutual_information"
            empty("No run has measured information at a site yet. Estimate it, and it is here:", command)
            return
        units = sorted({m.unit for m in metrics.values()})
        unit = st.segmented_control("Unit", units, default=units[0], required=True) if len(units) > 1 else units[0]
        metrics = {key: m for key, m in metrics.items() if m.unit == unit}
        _page(study, frame[frame["metric"].isin(list(metrics)) & frame["site"].ne("")], metrics, str(unit))


def _page(study: Study, rows: pd.DataFrame, metrics: dict[str, Metric], unit: str) -> None:
    left, right = st.columns([1, 2])
    with right:
        runs = by_site.run_choice(rows, "information_runs")
    rows = rows[rows["run"].isin(runs)]
    if rows.empty:
        empty("Choose a run to see what it measured.")
        return
    summary = best_by_label(rows, metrics)
    labels = list(dict.fromkeys(summary.sort_values("above", ascending=False)["label"]))
    with left:
        label = st.selectbox("Label", labels, format_func=lambda s: short(s or "all", 120), key="label", bind="query-params")
    own = rows[rows["label"].eq(label)]
    several = own["run"].nunique() > 1
    titles = own["metric"].map(lambda k: metrics[k].title)
    own = own.assign(series=titles + " · " + own["run"] if several else titles)
    about = "A band is the 95% interval. Grey: the range of the floors, from permuted labels; there, nothing was found."
    heading(f"What each layer says about {short(label or 'all', 80)}", about)
    by_site.draw(own, unit, f"information {study.folder}", 0.0)
    _estimators(metrics)
    heading("Every label, at its best layer", "The best of several layers is a little too good; the floor was not chosen.")
    _best(summary, metrics, unit)


def _estimators(metrics: dict[str, Metric]) -> None:
    parts = [f"<li><b>{escape(m.title)}</b>: {escape(m.description, 900)}</li>" for m in metrics.values()]
    with st.expander("What the estimators mean"):
        st.html(f"<ul class='cw-small'>{''.join(parts)}</ul>")


def best_by_label(rows: pd.DataFrame, metrics: dict[str, Metric]) -> pd.DataFrame:
    """The largest estimate of each label by each metric that has a floor, and how far its interval lies above the floor."""
    floored = rows[rows["metric"].isin(list(metrics)) & (rows["null"].notna() | rows["null_high"].notna())]
    source = floored if len(floored) else rows
    best = source.sort_values("value", ascending=False, kind="stable").drop_duplicates(["metric", "label"])
    floor = best["null_high"].where(best["null_high"].notna(), best["null"])
    return best.assign(floor=floor, above=best["low"].where(best["low"].notna(), best["value"]) - floor.fillna(0.0))


def _best(summary: pd.DataFrame, metrics: dict[str, Metric], unit: str) -> None:
    keys = list(dict.fromkeys(summary["metric"]))
    key = st.segmented_control(
        "Estimator", keys, default=keys[0], format_func=lambda k: literal(metrics[k].title), required=True, key="estimator"
    )
    rows = summary[summary["metric"].eq(key)].sort_values("above", ascending=False)
    verdict = rows["above"].gt(0).map({True: "above its floor", False: "not told apart from its floor"})
    shown = pd.DataFrame(
        {
            "Label": [short(v or "all") for v in rows["label"]], "Best site": [short(v) for v in rows["site"]],
            unit.capitalize(): rows["value"], "95% from": rows["low"], "to": rows["high"], "Floor": rows["floor"],
            "Reading": verdict, "n": rows["n"],
        }
    )  # fmt: skip
    number = st.column_config.NumberColumn(format="%.3f")
    config = dict.fromkeys([unit.capitalize(), "95% from", "to", "Floor"], number)
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", height=min(560, 38 + 35 * len(shown)))
