"""Compare two runs: what was set differently, what was measured, and which concepts both found."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import state
from app.components.page import empty, heading, sentences, title
from app.components.text import escape, short
from app.tables import all_declared, comparison
from workbench.frames import records
from workbench.store.run_kinds import of_analyses
from workbench.study import Study

VERDICTS = {
    "agree": "the same direction, beyond chance",
    "chance": "paired, but no closer than chance",
    "alone": "no partner in the other run",
}
OVERLAP = {True: "overlap", False: "apart"}
SHOWN = 400


def render(study: Study) -> None:
    """Choose two runs and see them side by side."""
    title("Compare two runs", "Options, measurements with their intervals, and the concepts of each matched one to one.")
    runs = study.runs()
    runs = runs[of_analyses(runs)]
    if len(runs) < 2:
        empty("This needs two finished runs; start another one on the page of runs, with another seed for instance.")
        st.page_link(state.page("runs"), label="Runs", query_params=state.link())
        return
    ids = runs["id"].tolist()[::-1]
    about = {row["id"]: f"{row['id']} (seed {row['seed']})" for row in records(runs)}
    first_id, second_id = likely_pair(runs)
    left, right = st.columns(2)

    def name(identifier: str) -> str:
        return short(about[identifier], 128)

    first = left.selectbox("First", ids, index=ids.index(first_id), format_func=name, key="first", bind="query-params")
    second = right.selectbox("Second", ids, index=ids.index(second_id), format_func=name, key="second", bind="query-params")
    if first == second:
        empty("Choose two different runs.")
        return
    with sentences():
        found = comparison(study, first, second)
        _config(found.config)
        _metrics(study, found.metrics)
        _concepts(study, found.concepts, first)


def likely_pair(runs: pd.DataFrame) -> tuple[str, str]:
    """Two runs of one analysis where there are two, an earlier and a later; else the last two."""
    for _, part in list(runs.groupby("analysis", sort=False))[::-1]:
        if len(part) > 1:
            return str(part["id"].iloc[-2]), str(part["id"].iloc[-1])
    return str(runs["id"].iloc[-2]), str(runs["id"].iloc[-1])


def _config(config: pd.DataFrame) -> None:
    differs = config[~config["same"].astype(bool)]
    heading("What was set differently")
    if differs.empty:
        empty("Nothing: options, seed, data and sites are the same.")
        return
    shown = pd.DataFrame({c: [short(v, 300) for v in differs[c]] for c in ("option", "first", "second")})
    st.dataframe(shown, hide_index=True, column_config={"option": "Option", "first": "First", "second": "Second"})
    st.html(f'<div class="cw-soft cw-small">{int(config["same"].sum())} more are the same in both.</div>')


def _metrics(study: Study, metrics: pd.DataFrame) -> None:
    heading(
        "Measurements that both have",
        "Intervals that lie apart are a difference; overlapping ones do not show that there is none.",
    )
    if metrics.empty:
        empty("They have no measurement in common.")
        return
    known = all_declared(study)
    apart = int(metrics["overlap"].eq(False).sum())
    judged = int(metrics["overlap"].notna().sum())
    st.html(f'<div class="cw-soft">{len(metrics):,} in both; of {judged:,} with intervals {apart:,} lie apart.</div>')
    keys = list(dict.fromkeys(metrics["metric"]))
    chosen = st.multiselect("Measurements", keys, format_func=lambda k: known[k].title if k in known else short(k), key="shown")
    rows = metrics[metrics["metric"].isin(chosen)] if chosen else metrics
    rows = rows.sort_values("difference", key=lambda d: d.abs(), ascending=False).head(SHOWN)
    shown = pd.DataFrame({"Measurement": [known[k].title if k in known else short(k) for k in rows["metric"]]})
    for column in ("site", "label", "class"):
        if column in rows and rows[column].astype(bool).any():
            shown[column.capitalize()] = [short(v) for v in rows[column]]
    for side in ("first", "second"):
        shown[f"{side.capitalize()}"] = rows[f"value_{side}"].to_numpy()
        ends = zip(rows[f"low_{side}"], rows[f"high_{side}"], strict=True)
        shown[f"{side.capitalize()}, 95%"] = ["–" if pd.isna(low) else f"{low:.3f} to {high:.3f}" for low, high in ends]
        shown[f"{side.capitalize()}, null"] = rows[f"null_{side}"].to_numpy()
    shown["Difference"] = rows["difference"].to_numpy()
    shown["Intervals"] = [OVERLAP.get(v, "–") for v in rows["overlap"]]
    number = st.column_config.NumberColumn(format="%.3f")
    config = dict.fromkeys(["First", "First, null", "Second", "Second, null", "Difference"], number)
    st.dataframe(shown, hide_index=True, column_config=config, placeholder="–", height=min(460, 38 + 35 * len(shown)))


def _concepts(study: Study, concepts: pd.DataFrame, first: str) -> None:
    about = "Matched by label, or as each other's nearest direction. The null is the nearest of random directions."
    heading("Concepts, matched one to one", about)
    if concepts.empty:
        empty("Neither run has concepts.")
        return
    counts = concepts["verdict"].value_counts()
    own = concepts["concept"].str.rsplit(".", n=1).str[0].eq(first)
    tiles = {
        "pairs that agree": counts.get("agree", 0),
        "pairs no closer than chance": counts.get("chance", 0),
        "only in the first": int((concepts["verdict"].eq("alone") & own).sum()),
        "only in the second": int((concepts["verdict"].eq("alone") & ~own).sum()),
    }
    cells = "".join(f'<div class="cw-tile"><b>{n:,}</b><span class="cw-soft">{escape(k)}</span></div>' for k, n in tiles.items())
    st.html(f'<div class="cw-tiles">{cells}</div>')
    options = [v for v in VERDICTS if counts.get(v, 0)]
    verdict = st.segmented_control(
        "Show", options, default=options[0], required=True, format_func=lambda v: VERDICTS[v], key="verdict"
    )
    rows = concepts[concepts["verdict"].eq(verdict)].sort_values("cosine", ascending=False).head(SHOWN).reset_index(drop=True)
    names = state.names_of(study)
    shown = pd.DataFrame(
        {
            "Concept": [short(names.get(i, i)) for i in rows["concept"]],
            "Partner": [short(names.get(i, i)) if i else "–" for i in rows["other"]],
            "Site": [short(s) for s in rows["site"]], "Cosine": rows["cosine"], "Null, 95th": rows["null_high"],
            "Id": [short(i, 160) for i in rows["concept"]], "Partner's id": [short(i, 160) for i in rows["other"]],
        }
    )  # fmt: skip
    number = st.column_config.NumberColumn(format="%.3f")
    opened = st.session_state.get("opened", 0)
    event = st.dataframe(
        shown if verdict != "alone" else shown.drop(columns=["Partner", "Partner's id"]), hide_index=True,
        column_config={"Cosine": number, "Null, 95th": number}, on_select="rerun", selection_mode="single-row",
        key=f"matched {study.folder} {verdict} {opened}", height=min(460, 38 + 35 * len(shown)),
    )  # fmt: skip
    st.html('<div class="cw-soft cw-small">Choose a row to open the concept.</div>')
    if event.selection.rows:
        st.session_state["opened"] = opened + 1
        state.open_concept(str(rows["concept"].iloc[event.selection.rows[0]]))
