"""Measurements in the order in which tables show them, and in words which of them a table shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.metrics import Metric
from workbench.numbers import count

TESTED = ("p_corrected", "p")


def clearest_first(table: pd.DataFrame, declared: Mapping[str, Metric]) -> pd.DataFrame:
    """The rows of each metric together, in the order of declaration; within one those with the smallest p first, then by size.

    Values of different metrics have different units and are not compared. A two-sided test may be clearest where the value is
    far below 0, so p goes before size: first the corrected one, then the raw one. Rows without a value come last.
    """
    metrics = [*declared, *(key for key in table["metric"].unique() if key not in declared)]
    place = {key: number for number, key in enumerate(metrics)}
    untested = table.reindex(columns=[*table.columns, *(c for c in TESTED if c not in table)])
    order = untested[list(TESTED)].apply(pd.to_numeric).assign(metric=table["metric"].map(place), size=_sizes(table, declared))
    order = order.reset_index(drop=True)
    order = order.sort_values(["metric", *TESTED, "size"], ascending=[True, True, True, False], kind="stable")
    return table.iloc[order.index]


def first_of_each(table: pd.DataFrame, declared: Mapping[str, Metric], most: int) -> pd.DataFrame:
    """At most so many rows of each metric, :func:`clearest_first`."""
    ordered = clearest_first(table, declared)
    return ordered[ordered.groupby("metric").cumcount() < most]


def shown_of(table: pd.DataFrame, shown: pd.DataFrame, declared: Mapping[str, Metric]) -> str:
    """Which of a table's rows are shown, in a sentence that names each metric with more; empty where all are."""
    parts = []
    for key in shown["metric"].unique():
        all_of, some = table[table["metric"].eq(key)], shown[shown["metric"].eq(key)]
        if len(some) < len(all_of):
            title = declared[key].title if key in declared else key
            parts.append(f"{count(len(some))} of {count(len(all_of))} of {title} ({_by(all_of, declared.get(key))} first)")
    return f"Shown: {'; '.join(parts)}." if parts else ""


def corrections(table: pd.DataFrame, declared: Mapping[str, Metric]) -> list[str]:
    """What the corrected p values of a table are corrected for, in a sentence a family."""
    if "family" not in table:
        return []
    found = table[table["family"].fillna("").astype(str).ne("")].drop_duplicates(["metric", "family"])
    names: Mapping[str, str] = {key: metric.title for key, metric in declared.items()}
    return [
        f"Corrected p of {names.get(metric, metric)}: Holm, over {family}."
        for metric, family in zip(found["metric"], found["family"], strict=True)
    ]


def _sizes(table: pd.DataFrame, declared: Mapping[str, Metric]) -> pd.Series:
    """By how much a value speaks: far from chance where the sign tells nothing, else large, or small where less is better."""
    sizes = pd.to_numeric(table["value"])
    for key in table["metric"].unique():
        metric, own = declared.get(key), table["metric"].eq(key)
        if metric is not None and metric.direction == "none":
            sizes = sizes.mask(own, (sizes - (metric.chance or 0.0)).abs())
        elif metric is not None and metric.direction == "down":
            sizes = sizes.mask(own, -sizes)
    return sizes


def _by(rows: pd.DataFrame, metric: Metric | None) -> str:
    tested: Sequence[str] = [column for column in TESTED if column in rows and rows[column].notna().any()]
    if tested:
        return "the smallest corrected p" if tested[0] == "p_corrected" else "the smallest p, not corrected,"
    if metric is not None and metric.direction == "none" and metric.chance is not None:
        return f"the furthest from {metric.chance:g}"
    return "the smallest" if metric is not None and metric.direction == "down" else "the largest"
