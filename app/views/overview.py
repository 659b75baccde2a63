"""The study: its model, data and runs, what was found, and what failed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.charts import chart
from app.components.evidence import row_html
from app.components.neighbours import compare_button, family_table
from app.components.page import empty, heading, sentences, title
from app.components.report import report_button
from app.components.text import escape, literal, sentence, short
from app.tables import declared, metric_frame
from workbench.analysis import Metric
from workbench.frames import records
from workbench.measurements import clearest_first
from workbench.numbers import counted
from workbench.paths import inside
from workbench.study import Study

FAMILIES_SHOWN = 200


def render(study: Study) -> None:
    """The overview."""
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
        _headlines(study)


def _facts(study: Study) -> None:
    known = study.known_model()
    rows = []
    if known:
        model = known
        rows.append(("Model", f"{model['name']} ({model['kind']}), weights {model['weights_hash'][:12]}"))
        rows += [("Note", note) for note in model.get("notes", ())]
    for acts in study.activations():
        record = acts.dataset_record
        sites = ", ".join(str(s) for s in acts.sites)
        rows.append(("Data", f"{record['name']}: {acts.n_examples:,} examples"))
        under = f", under {acts.under}" if acts.edits else ""
        rows.append(("Activations", f"{acts.n_rows:,} rows by {acts.pool} at {sites}{under}"))
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
    for row in records(runs[~runs["status"].eq("done")]):
        what, error = short(row["id"], 80), row["error"]
        if row["status"] == "running":
            st.info(literal(f"Run {what} has not finished: it is still running, or was cut off. Started {row['started']}."))
        else:
            reason = f"Run {what} {row['status']}: {error or 'no reason was recorded'}"
            st.warning(sentence(reason), icon=":material/warning:")


def _methods(frame: pd.DataFrame) -> None:
    heading("Concepts by method")
    if frame.empty:
        empty("No run has found concepts yet.")
        return
    table = frame.groupby(["method", "site"], sort=False).size().reset_index(name="concepts")
    count = st.column_config.NumberColumn("Concepts", format="localized")
    columns: dict[str, Any] = {"method": "Method", "site": "Site", "concepts": count}
    st.dataframe(table, hide_index=True, height=min(320, 38 + 35 * len(table)), column_config=columns)
    st.page_link(state.page("runs"), label="All runs", icon=":material/play_circle:", query_params=state.link())
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
        names, hide_index=True, placeholder="–", height=min(320, 38 + 35 * len(names)), on_select="rerun",
        selection_mode="single-cell", key=f"families {study.folder} {seen}",
    )  # fmt: skip
    for row, column in event.selection.cells:
        identifier = ids.loc[int(row), column]
        if isinstance(identifier, str):
            st.session_state["opened"] = seen + 1
            state.open_concept(identifier)
    shared = f"{counted(members['family'].nunique(), 'concept')} found by several methods"
    st.html(f'<div class="cw-soft cw-small">{escape(shared)}</div>')


def _headlines(study: Study) -> None:
    """The clearest of every measurement with its interval and its null, and the figures of a run."""
    frame = metric_frame(study)
    first = newest_runs(study)
    with_metrics = [run for run in first if run in set(frame["run"])]
    figured = [run for run in first if any((inside(study.folder, "runs", run) / "figures").glob("*.json"))]
    chosen = list(dict.fromkeys([*with_metrics, *figured]))
    if not chosen:
        return
    about = (
        "Of every measurement the clearest: that with the smallest p, or the best value where none is tested. The best of many is"
        " a little too good; a corrected p takes all of them into account."
    )
    heading("Headline figures", about)
    run = st.selectbox("Run", chosen, format_func=lambda i: f"{spoken(i.rpartition('-')[0])} ({i})")
    rows, known = frame[frame["run"].eq(run)], declared(run.rpartition("-")[0])
    left, right = st.columns([2, 3], gap="large")
    with left:
        parts = [row_html(row, metric) for row, metric in best_rows(rows, known)]
        st.html("".join(parts) or '<div class="cw-soft">This run recorded no measurements.</div>')
    with right:
        figures = study.get_run(run).figures
        for name in figures:
            with sentences():
                chart(figures[name], f"figure {run} {name}")


def newest_runs(study: Study) -> list[str]:
    """The newest run of every analysis, the one with the lowest seed where it was repeated."""
    done = study.runs().sort_values(["seed", "started"], ascending=[True, False])
    return [str(i) for i in done.drop_duplicates("analysis").sort_values("started")["id"]]


def best_rows(rows: pd.DataFrame, known: dict[str, Metric]) -> list[tuple[dict[str, Any], Metric]]:
    """Of every metric that is shown unasked its best row, with what it is the best of in the place of the label."""
    found = []
    for key, metric in known.items():
        own = rows[rows["metric"].eq(key) & rows["value"].notna()]
        if len(own) and metric.shown:
            best = records(clearest_first(own, known).head(1))[0]
            where = ", ".join(v for v in (best["label"], best["class"], best["site"]) if v)
            label = f"clearest of {len(own):,}: {where}" if len(own) > 1 else where
            found.append((best | {"label": label, "status": "ok"}, metric))
    return found


def spoken(name: str) -> str:
    """The name of an analysis as words."""
    return short(name, 64).replace("_", " ").capitalize()
