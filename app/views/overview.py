"""The study: its model, data and runs, what was found, and what failed."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.curves import CONFIG
from app.components.neighbours import compare_button, family_table
from app.components.page import empty, heading, sentences, title
from app.components.report import report_button
from app.components.text import escape, literal, number, short
from workbench.store.study import Study

FAMILIES_SHOWN = 200


def render(study: Study) -> None:
    """The overview."""
    _picker()
    runs = study.runs(status=None)
    frame = state.concept_frame(study)
    title(study.name, "What this study is about, what was run, and what was found.")
    with sentences():
        _facts(study)
    if runs.empty:
        empty("No analysis has been run yet. Run one, and its concepts are here:", f"workbench run {study.name} linear_probe")
        return
    _tiles(runs, frame[~frame["repeat"]])
    with sentences():
        report_button(study)
    _troubles(runs)
    left, right = st.columns(2, gap="large")
    with left:
        _methods(frame[~frame["repeat"]])
    with right, sentences():
        _families(study, frame)
    with sentences():
        _figures(study, runs)
    _runs(runs, frame)


def _picker() -> None:
    names = list(state.study_folders())
    if len(names) > 1:
        place = names.index(st.session_state.get("study", names[0]))
        chosen = st.selectbox("Study", names, index=place)
        if chosen != names[place]:
            state.choose_study(chosen)
            st.rerun()


def _facts(study: Study) -> None:
    known = study.catalog.info("model")
    rows = []
    if known:
        model = json.loads(known)
        rows.append(("Model", f"{model['name']} ({model['kind']}), weights {model['weights_hash'][:12]}"))
    for acts in study.activations():
        record = acts.dataset_record
        sites = ", ".join(str(s) for s in acts.sites)
        rows.append(("Data", f"{record['name']}: {acts.n_examples:,} examples"))
        rows.append(("Activations", f"{acts.n_rows:,} rows by {acts.pool} at {sites}"))
    if not rows:
        empty("This study has no activations yet. Capture some first:", f"workbench capture {study.name} …")
        return
    cells = "".join(f'<span class="cw-soft">{escape(k)}</span><span>{escape(v, 600)}</span>' for k, v in rows)
    st.html(f'<div class="cw-facts">{cells}</div>')


def _tiles(runs: pd.DataFrame, frame: pd.DataFrame) -> None:
    examined = frame.drop(columns=_plain_columns(frame)).notna().any(axis=1).sum() if len(frame) else 0
    tiles = {
        "concepts": len(frame),
        "methods": frame["method"].nunique(),
        "examined": int(examined),
        "named by a person": int(frame["named_by"].eq("human").sum()),
        "runs": int(runs["status"].eq("done").sum()),
    }
    cells = "".join(f'<div class="cw-tile"><b>{n:,}</b><span class="cw-soft">{escape(k)}</span></div>' for k, n in tiles.items())
    st.html(f'<div class="cw-tiles">{cells}</div>')


def _plain_columns(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if "." not in str(c)]


def _troubles(runs: pd.DataFrame) -> None:
    for row in runs[~runs["status"].eq("done")].to_dict("records"):
        what, error = short(row["id"], 80), row["error"]
        if row["status"] == "running":
            st.info(literal(f"Run {what} has not finished: it is still running, or was cut off. Started {row['started']}."))
        else:
            reason = f"Run {what} {row['status']}: {error or 'no reason was recorded'}"
            st.warning(literal(reason, 700), icon=":material/warning:")


def _methods(frame: pd.DataFrame) -> None:
    heading("Concepts by method")
    if frame.empty:
        empty("No run has found concepts yet.")
        return
    table = frame.groupby(["method", "site"], sort=False).size().reset_index(name="concepts")
    count = st.column_config.NumberColumn("Concepts", format="localized")
    columns: dict[str, Any] = {"method": "Method", "site": "Site", "concepts": count}
    st.dataframe(table, hide_index=True, height=min(320, 38 + 35 * len(table)), column_config=columns)
    st.page_link(state.page("concepts"), label="Find a concept", icon=":material/search:", query_params=state.link())


def _families(study: Study, frame: pd.DataFrame) -> None:
    heading("One concept, found by several methods", "Choose a cell to open that concept.")
    if frame["method"].nunique() < 2:
        empty("This needs concepts of two methods; run another analysis.")
        return
    pairs, stale = state.known_pairs(study)
    if pairs is None or stale:
        compare_button(study, stale)
    if pairs is None:
        return
    members = family_table(pairs, frame)
    if members.empty:
        empty("No two methods found the same concept.")
        return
    order = list(dict.fromkeys(members["family"]))[:FAMILIES_SHOWN]
    first = members.drop_duplicates(["family", "method"])
    names = first.pivot(index="family", columns="method", values="name").reindex(order).reset_index(drop=True)
    ids = first.pivot(index="family", columns="method", values="id").reindex(order).reset_index(drop=True)
    seen = st.session_state.get("opened", 0)
    event = st.dataframe(
        names, hide_index=True, height=min(320, 38 + 35 * len(names)), on_select="rerun", selection_mode="single-cell",
        key=f"families {study.folder} {seen}",
    )  # fmt: skip
    for row, column in event.selection.cells:
        identifier = ids.loc[int(row), column]
        if isinstance(identifier, str):
            st.session_state["opened"] = seen + 1
            state.open_concept(identifier)
    st.html(f'<div class="cw-soft cw-small">{members["family"].nunique():,} families of the same concept</div>')


def _figures(study: Study, runs: pd.DataFrame) -> None:
    done = runs[runs["status"].eq("done")].sort_values(["seed", "started"], ascending=[True, False])
    newest = done.drop_duplicates("analysis").sort_values("started")
    with_figures = [str(i) for i in newest["id"] if any((study.folder / "runs" / str(i) / "figures").glob("*.json"))]
    if not with_figures:
        return
    heading("Headline figures")
    chosen = st.selectbox("Run", with_figures, format_func=lambda i: spoken(i.rpartition("-")[0]) + f" ({i})")
    columns = st.columns(2, gap="large")
    for place, (name, figure) in enumerate(study.get_run(chosen).figures.items()):
        columns[place % 2].plotly_chart(figure, config=CONFIG, key=f"figure {chosen} {name}")


def _runs(runs: pd.DataFrame, frame: pd.DataFrame) -> None:
    heading("Runs")
    counts = frame.groupby("run").size() if len(frame) else pd.Series(dtype=int)
    table = pd.DataFrame(
        {
            "Analysis": [spoken(a) for a in runs["analysis"]],
            "Status": runs["status"],
            "Concepts": runs["id"].map(counts).fillna(0).astype(int),
            "Seed": runs["seed"],
            "Seconds": runs["seconds"].astype(float).round(1),
            "Peak MiB": runs["peak_mib"].astype(float).round(0),
            "Started": [short(s, 40).replace("T", " ").replace("+00:00", "") for s in runs["started"]],
            "Id": [short(i, 128) for i in runs["id"]],
            "Options": [short(json.dumps(c), 300) for c in runs["config"]],
        }
    )
    st.dataframe(table[::-1], hide_index=True)
    spent = runs["seconds"].astype(float).sum()
    st.html(f'<div class="cw-soft cw-small">{len(runs):,} runs took {number(float(spent))} s together; times are in UTC.</div>')


def spoken(name: str) -> str:
    """The name of an analysis as words."""
    return short(name, 64).replace("_", " ").capitalize()
