"""The evidence card: every measurement with its interval and its null, and in words what that says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import state
from app.components.page import empty
from app.components.text import escape, interval, number
from workbench.analysis import Metric
from workbench.evidence import QUESTIONS
from workbench.evidence.calibration import sentence
from workbench.evidence.verdict import verdict
from workbench.frames import records
from workbench.numbers import p_value
from workbench.statistics.rows import COUNTS, P_VALUES

FACTS = {
    "null": "null", "null_high": "null, 95th percentile", "p": "p", "p_corrected": "corrected p", "n": "n",
    "clusters": "clusters", "clusters_positive": "clusters of the rarer class",
}  # fmt: skip


def evidence_card(evidence: pd.DataFrame, key: str, known: Mapping[str, Metric]) -> None:
    """The rows of one concept, grouped by what they are evidence of: the trial's families, then what its method measured.

    Args:
        evidence: The rows.
        key: Makes the widgets' keys unlike those of another card.
        known: The metrics that there are, by key.
    """
    if evidence.empty:
        empty("This concept has not stood trial yet: nothing is known of it but where it was found. Examine it to measure it.")
        return
    link = {"study": state.link()["study"]}
    st.page_link(state.page("calibration"), label="How well these numbers hold", query_params=link, icon=":material/rule:")
    hidden = evidence["metric"].map(lambda name: name in known and not known[name].shown)
    if hidden.any() and not st.toggle(_more(int(hidden.sum())), key=f"every {key}"):
        evidence = evidence[~hidden]
    kind = evidence["metric"].str.split(".").str[0]
    for family in [*QUESTIONS, *sorted(set(kind) - set(QUESTIONS))]:
        rows = evidence[kind.eq(family)]
        if len(rows):
            own = f"{family.replace('_', ' ').capitalize()}: measured by the method that found it"
            head, _, question = QUESTIONS.get(family, own).partition(":")
            unknown = {name: Metric(name, name, "") for name in rows["metric"]}
            parts = [row_html(row, (unknown | dict(known))[row["metric"]]) for row in _ordered(rows, known)]
            about = f' <span class="cw-soft">{escape(question.strip())}</span>' if question else ""
            st.html(f'<div class="cw-family">{escape(head)}{about}</div>{"".join(parts)}')


def _more(count: int) -> str:
    return f"Show {count} more measurement{'s' if count > 1 else ''}"


def missing_families(evidence: pd.DataFrame, command: str) -> None:
    """Say in one line which kinds of evidence there is none of, and what would measure them."""
    known = set(evidence["metric"].str.split(".").str[0])
    lacking = [head.partition(":")[0].lower() for key, head in QUESTIONS.items() if key not in known]
    if lacking and known:
        sentence = f"Not measured yet: {', '.join(lacking)}. The button below measures what it can; stability needs a terminal:"
        st.html(
            f'<div class="cw-soft cw-small" style="margin-top:8px">{escape(sentence, 300)} <code>{escape(command)}</code></div>'
        )


def _ordered(rows: pd.DataFrame, known: Mapping[str, Metric]) -> list[dict[str, Any]]:
    """Metrics in the order in which they are declared; of several labels the strongest first."""
    order = {key: i for i, key in enumerate(known)}
    place = rows["metric"].map(lambda key: order.get(key, len(order)))
    ranked = rows.assign(_place=place).sort_values(["_place", "value"], ascending=[True, False], kind="stable")
    return [{str(k): v for k, v in row.items()} for row in records(ranked.drop(columns="_place"))]


def row_html(row: dict[str, Any], metric: Metric) -> str:
    """One measurement as HTML."""
    label = f'<div class="cw-soft cw-small">{escape(row["label"], 120)}</div>' if row["label"] else ""
    about = f"{metric.description} {sentence(metric.key)}"
    what = f'<div title="{escape(about, 900)}"><b>{escape(metric.title)}</b>{label}</div>'
    if row["status"] != "ok" or missing(row["value"]):
        reason = escape(row.get("error") or "no reason was recorded", 400)
        return f'<div class="cw-row cw-failed">{what}<div class="cw-wide cw-verdict cw-small">Failed: {reason}</div></div>'
    beyond, words = verdict(row, metric)
    range_ = interval(row["low"], row["high"])
    value = f'<div class="cw-value">{number(row["value"])} <span>{escape(metric.unit)}</span>'
    value += f'<div class="cw-soft cw-small" style="font-weight:400">{range_}</div></div>'
    shown = " · ".join(f"{name} {_fact(column, row[column])}" for column, name in FACTS.items() if not missing(row.get(column)))
    tone = {True: "cw-beyond", False: "cw-within", None: "cw-unknown"}[beyond]
    below = f'<div class="cw-wide cw-verdict cw-small">{escape(words, 400)} <span class="cw-soft cw-number">{shown}</span></div>'
    return f'<div class="cw-row {tone}">{what}{value}{bar(row, metric)}{below}</div>'


def bar(row: dict[str, Any], metric: Metric) -> str:
    """A line with the null's range in grey, the interval and the value in blue. It draws what the numbers beside it say."""
    numbers = [row[k] for k in ("value", "low", "high", "null", "null_high") if not missing(row[k])]
    numbers += [metric.chance] if metric.chance is not None else []
    if not metric.unit and min(numbers) >= 0 and max(numbers) <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = min(0.0, *numbers), max(0.0, *numbers)
        edge = 0.05 * (high - low) or 1.0
        low, high = low - edge, high + edge

    def at(value: float) -> float:
        return max(0.0, min(100.0, 100 * (value - low) / (high - low)))

    parts = ['<i class="axis"></i>']
    if not missing(row["null"]):
        start, end = at(row["null"]), at(row["null"] if missing(row["null_high"]) else row["null_high"])
        parts.append(f'<i class="null" style="left:{min(start, end):.1f}%;width:{abs(end - start):.1f}%"></i>')
    if not missing(row["low"]) and not missing(row["high"]):
        start, end = at(row["low"]), at(row["high"])
        parts.append(f'<i class="span" style="left:{start:.1f}%;width:{max(0.0, end - start):.1f}%"></i>')
    parts.append(f'<i class="dot" style="left:{at(row["value"]):.1f}%"></i>')
    about = f"from {number(low)} to {number(high)}; grey: null up to its 95th percentile; blue: value and interval"
    return f'<div class="cw-bar" title="{escape(about)}">{"".join(parts)}</div>'


def missing(value: Any) -> bool:
    """Whether there is no number."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or bool(pd.isna(value))


def _fact(column: str, value: float) -> str:
    if column in P_VALUES:
        return escape(p_value(value))
    return f"{int(value):,}" if column in COUNTS else number(float(value))
