"""The editor of a head: what the concepts count for an output, other weights tried at once, and saved as a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import state
from app.components.page import empty, sentences, small_lines
from app.components.text import escape, interval, literal, number, sentence, short
from app.writer import writer_of
from workbench.errors import WorkbenchError
from workbench.head_edits import HeadEdit, HeadTest, effect
from workbench.metrics import OF_HEAD_EDITS
from workbench.plots import COLOURS, FOUND, style
from workbench.plots.figures import plain
from workbench.reports.drawn import names_of
from workbench.store.runs import Run

if TYPE_CHECKING:
    from workbench.concepts import Head

BARS = 25
TITLES = {metric.key: metric.title for metric in OF_HEAD_EDITS}
Tried = dict[str, Any]
"""What a person changed and has not saved: ``weights`` by output and number of the concept, and numbers to ``mask``."""


def head_editor(run: Run, name: str, key: str) -> None:
    """The weights of one output; who may write can change them."""
    head = run.heads[name]
    if head.weights is None:
        empty(f"Heads of the kind '{head.kind}' have no weights to show.")
        return
    names = dict(zip(head.facts.concepts, names_of(run, head), strict=True))
    tried: Tried = st.session_state.setdefault(f"tried {key}", {"weights": {}, "mask": []})
    output = str(st.selectbox("Output", head.facts.outputs, format_func=lambda o: short(o, 80), key=f"output {key}"))
    weights = _weights(head, tried, output)
    _bars(weights, names, key)
    if writer_of(run.study) is None:
        small_lines(["You may look at the weights, and not change them."])
        return
    _controls(output, weights, names, tried, key)
    if tried["weights"] or tried["mask"]:
        _pending(run, name, head, names, tried, key)


def _weights(head: Head, tried: Tried, output: str) -> pd.Series:
    """The weights of an output by the number of the concept, as they are tried."""
    assert head.weights is not None
    of_output = head.weights[head.facts.outputs.index(output)].detach().float().numpy()
    found = pd.Series(of_output, index=list(head.facts.concepts), dtype=float)
    found.update(pd.Series(tried["weights"].get(output, {}), dtype=float))
    found[tried["mask"]] = 0.0
    return found


def _bars(weights: pd.Series, names: dict[int, str], key: str) -> None:
    import plotly.graph_objects as go

    from app.components.charts import chart

    shown = weights.iloc[np.argsort(-weights.abs().to_numpy(), kind="stable")[:BARS]][::-1]
    colours = [FOUND if weight >= 0 else COLOURS[1] for weight in shown]
    places = list(range(len(shown)))
    figure = style(go.Figure(go.Bar(x=shown.tolist(), y=places, orientation="h", marker={"color": colours})), "", "weight")
    figure.update_yaxes(tickvals=places, ticktext=[plain(names[i]) for i in shown.index])
    chart(figure.update_layout(height=80 + 22 * len(shown)), f"bars {key}")
    if len(weights) > BARS:
        small_lines([f"The {BARS} of largest weight, of {len(weights):,} concepts."])


def _controls(output: str, weights: pd.Series, names: dict[int, str], tried: Tried, key: str) -> None:
    order = [int(i) for i in weights.abs().sort_values(ascending=False, kind="stable").index]
    with st.form(f"edit {key}", border=False):
        left, right, last = st.columns([3, 2, 1], vertical_alignment="bottom")
        concept = left.selectbox("Concept", order, format_func=lambda i: f"{short(names[i], 80)} ({i})", key=f"concept {key}")
        weight = right.number_input("Weight", value=0.0, step=0.1, format="%.4f", key=f"weight {key}")
        if last.form_submit_button("Set"):
            tried["weights"].setdefault(output, {})[int(concept)] = float(weight)
            st.rerun()
    masked = st.multiselect(
        "Concepts that count for no output", order, default=[i for i in tried["mask"] if i in order], key=f"mask {key}",
        format_func=lambda i: f"{short(names[i], 80)} ({i})",
    )  # fmt: skip
    if sorted(masked) != tried["mask"]:
        tried["mask"] = sorted(int(i) for i in masked)
        st.rerun()


@st.cache_resource(max_entries=8, show_spinner="Reading the test examples …")
def _test(folder: str, run: str, name: str, _run: Run) -> HeadTest:
    """The test split as a head reads it: an edit is then measured without reading anything again."""
    return HeadTest(_run.study, _run, _run.heads[name])


def _pending(run: Run, name: str, head: Head, names: dict[int, str], tried: Tried, key: str) -> None:
    """What was changed, what it does to the test split, and the buttons that save it or take it back."""
    changed = [f"{o}: {names[i]} {w:+.3g}" for o, of in tried["weights"].items() for i, w in of.items()]
    changed += [f"{names[i]} counts for nothing" for i in tried["mask"]]
    st.html(f'<div class="cw-soft">Not saved: {escape("; ".join(changed), 900)}</div>')
    with sentences():
        test = _test(str(run.study.folder), run.id, name, run)
        rows, _ = effect(test, HeadEdit.made(head, test.origin.id, **tried).of(head))
        for row in rows:
            st.html(f'<div class="cw-number">{_measured(row)}</div>')
    save, undo = st.columns(2)
    if save.button("Save as a run", icon=":material/save:", type="primary", key=f"save {key}"):
        _save(run, name, tried, key)
    if undo.button("Take back all changes", icon=":material/undo:", key=f"undo {key}"):
        _forget(key)
        st.rerun()


def _measured(row: dict[str, Any]) -> str:
    title = escape(f"{TITLES[row['metric']]} {row.get('label', '')}".strip())
    if row["status"] != "ok":
        return f"{title}: {escape(row['error'], 400)}"
    between = interval(row["low"], row["high"])
    null = f", null {number(row['null'])}" if row.get("null") is not None else ""
    return f"{title}: <b>{number(row['value'])}</b> <span class='cw-soft'>{f'({between})' if between else ''}{null}</span>"


def _save(run: Run, name: str, tried: Tried, key: str) -> None:
    writer = writer_of(run.study)
    if writer is None:
        return
    try:
        saved = writer.edit_head(run, name, tried["weights"], tried["mask"])
    except WorkbenchError as error:
        st.error(sentence(error))
        return
    _forget(key)
    st.success(f"Saved as {literal(saved.id, 128)}.")
    link = {"study": state.link()["study"], "run": saved.id}
    st.page_link(state.page("runs"), label="Open it", query_params=link, icon=":material/arrow_forward:")


def _forget(key: str) -> None:
    for name in (f"tried {key}", f"mask {key}"):
        st.session_state.pop(name, None)
