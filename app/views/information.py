"""Information: how many bits of a label the activations hold, layer by layer, beside what permuted labels give."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components import by_site
from app.components.page import empty, heading, sentences, title
from app.components.text import escape, literal, short
from app.tables import INFORMATION, all_declared, metric_frame
from workbench.analysis import Metric
from workbench.numbers import p_value
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.correction import ALPHA
from workbench.study import Study


def render(study: Study) -> None:
    """One label over the layers by every estimator, then all labels."""
    title(
        "Information",
        "How much the activations say about a label, by every estimator that was run, with its null where it has one.",
    )
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
    about = (
        "A band is a 95% interval, which only estimators have whose interval was shown to cover. Grey: the range of the nulls,"
        " from permuted labels; there, nothing was found."
    )
    heading(f"What each layer says about {short(label or 'all', 80)}", about)
    by_site.draw(own, unit, f"information {study.folder}", 0.0)
    _estimators(metrics)
    heading(
        "Every label, at its best layer",
        "The best of several layers is a little too good; its corrected p value takes all of them into account.",
    )
    _best(summary, metrics, unit)


def _estimators(metrics: dict[str, Metric]) -> None:
    parts = [f"<li><b>{escape(m.title)}</b>: {escape(m.description, 900)}</li>" for m in metrics.values()]
    with st.expander("What the estimators mean"):
        st.html(f"<ul class='cw-small'>{''.join(parts)}</ul>")


def best_by_label(rows: pd.DataFrame, metrics: dict[str, Metric]) -> pd.DataFrame:
    """The largest estimate of each label by each metric that has a null, and how far it lies above the null's 95th percentile."""
    measured = rows[rows["metric"].isin(list(metrics)) & (rows["null"].notna() | rows["null_high"].notna())]
    source = measured if len(measured) else rows
    best = source.sort_values("value", ascending=False, kind="stable").drop_duplicates(["metric", "label"])
    level = best["null_high"].where(best["null_high"].notna(), best["null"])
    return best.assign(level=level, above=best["value"] - level.fillna(0.0))


def reading(row: pd.Series) -> str:
    """What a statistician says of an estimate: by its corrected p value where there is one, else by its null."""
    if pd.notna(row["p_corrected"]):
        return "above its null" if row["p_corrected"] <= ALPHA else "not told apart from its null"
    if pd.notna(row["clusters_positive"]) and row["clusters_positive"] < ENOUGH:
        return "too few documents to test"
    if pd.isna(row["level"]):
        return "no null was recorded"
    return "above its null, not tested" if row["above"] > 0 else "not told apart from its null"


def _best(summary: pd.DataFrame, metrics: dict[str, Metric], unit: str) -> None:
    keys = list(dict.fromkeys(summary["metric"]))
    key = st.segmented_control(
        "Estimator", keys, default=keys[0], format_func=lambda k: literal(metrics[k].title), required=True, key="estimator"
    )
    columns = ["p", "p_corrected", "standard_error", "at_half_n", "at_twice_k", "clusters", "clusters_positive"]
    rows = summary[summary["metric"].eq(key)].sort_values("above", ascending=False)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *columns])))
    shown = pd.DataFrame(
        {
            "Label": [short(v or "all") for v in rows["label"]], "Best site": [short(v) for v in rows["site"]],
            unit.capitalize(): rows["value"], "Sampling error": rows["standard_error"], "95% from": rows["low"],
            "to": rows["high"], "Null": rows["null"], "Null, 95th": rows["level"], "p": rows["p"].map(p_value),
            "Corrected p": rows["p_corrected"].map(p_value), "Reading": [reading(row) for _, row in rows.iterrows()],
            "At half n": rows["at_half_n"], "At twice k": rows["at_twice_k"], "n": rows["n"], "Clusters": rows["clusters"],
        }
    )  # fmt: skip
    # A column that no row has, such as the interval of an estimator without one, says nothing.
    shown = shown[[c for c in shown if shown[c].notna().any()]]
    number = st.column_config.NumberColumn(format="%.3f")
    numbers = [unit.capitalize(), "Sampling error", "95% from", "to", "Null", "Null, 95th", "At half n", "At twice k"]
    config = dict.fromkeys([c for c in numbers if c in shown], number)
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", height=min(560, 38 + 35 * len(shown)))
    st.html(
        '<div class="cw-soft cw-small">The sampling error is made over documents and knows nothing of bias: where half of the'
        " documents or twice the neighbours give another value by more than it, the bias is the larger. Corrected p: Holm, over"
        " all labels and sites of the run by this estimator.</div>"
    )
