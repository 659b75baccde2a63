"""Scores of probes on held-out examples, and of their controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probes import control_task, known_rate, majority_accuracy, random_direction_accuracy, shuffled_labels
from workbench.analysis import Metric
from workbench.evidence.samples import Sample
from workbench.plots import site_lines
from workbench.statistics.auroc import Area, average_precision, clustered_auroc
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.intervals import Interval, mean_interval, share_interval
from workbench.statistics.rows import NoNull, Null, row

METRICS = (
    Metric(
        "probe.auroc",
        "AUROC",
        "Area under the ROC curve on the test split; interval over documents; null: chance. The row Shuffled stands beside it:"
        " the same probe fitted to and tried on shuffled labels.",
        chance=0.5,
    ),
    Metric(
        "probe.ap",
        "Average precision",
        "Average precision on the test split; null: the share of positives.",
        shown=False,
    ),
    Metric(
        "probe.accuracy",
        "Accuracy",
        "Share of test rows that are right; null: always saying the commoner class.",
    ),
    Metric(
        "probe.selectivity",
        "Selectivity",
        "Accuracy less that of the same probe on a control task, where each word type has one label in both splits, drawn at"
        " random (Hewitt and Liang, 2019); near 0 the probe may only have learnt words.",
        chance=0.0,
    ),
    Metric(
        "probe.random",
        "Random direction",
        "Accuracy of the best of 100 random directions with a fitted threshold.",
        shown=False,
    ),
    Metric(
        "probe.shuffled",
        "Shuffled",
        "AUROC of the probe fitted to and tried on shuffled labels, with its interval.",
        shown=False,
    ),
    Metric(
        "probe.column",
        "Column accuracy",
        "Accuracy of the largest margin over the values of a label, on all test rows that have a value: those of values with too"
        " few rows for a probe count as wrong. Null: always the commonest value.",
    ),
)


def score_rows(sample: Sample, margins: np.ndarray) -> list[dict[str, Any]]:
    y = sample.y_test
    area = clustered_auroc(margins, y, sample.clusters_test)
    low, high = area.interval()
    precision, share = average_precision(margins, y), np.nanmean(y, axis=0)
    known = ~np.isnan(y)
    right = ((margins > 0) == (y == 1)) & known
    majority = majority_accuracy(sample.y_train, y)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(sample.labels):
        about, reason = _about(area, known, i, label), area.counts.reason(i)
        within = _within(share_interval, right[known[:, i]][:, [i]], sample.clusters_test[known[:, i]], area, i)
        note = f"'{label}' has {reason}" if reason else ""
        rows += [
            row("probe.auroc", area.value[i], Null(0.5), low=low[i], high=high[i], note=note, **about),
            row("probe.ap", precision[i], Null(share[i]), **about),
            row("probe.accuracy", right[known[:, i], i].mean(), Null(majority[i]), **within, **about),
        ]
    return rows


def _about(area: Area, known: np.ndarray, i: int, label: str) -> dict[str, Any]:
    """What every row of a label says: rows and clusters."""
    fewer = int(min(area.counts.positive[i], area.counts.negative[i]))
    return {"label": label, "n": int(known[:, i].sum()), "clusters": int(area.counts.every[i]), "clusters_positive": fewer}


def _within(interval: Callable[..., Interval], values: np.ndarray, clusters: np.ndarray, area: Area, i: int) -> dict[str, Any]:
    """The interval over clusters, where there are enough of them."""
    if not area.counts.enough[i]:
        return {}
    found = interval(values, clusters)
    return {"low": found.low[0], "high": found.high[0]}


def _no_task(label: str, words: int) -> dict[str, Any]:
    """A control task with one class has nothing to learn, so an accuracy on it says nothing."""
    error = f"the {words} words of the training rows all drew the same label of the control task: try another seed, or more text"
    return {"metric": "probe.selectivity", "label": label, "value": float("nan"), "status": "failed", "error": error}


def control_rows(
    sample: Sample, margins: np.ndarray, usable: list[bool], seed: int, callback: Callable[[float], None]
) -> list[dict[str, Any]]:
    y, clusters, count = sample.y_test, sample.clusters_test, sample.y_test.shape[1]
    # The shuffled probe is tried on labels shuffled in the same way: fitted to nothing, tried on nothing.
    area = clustered_auroc(margins[:, count : 2 * count], shuffled_labels(y, seed + 1, clusters), clusters)
    low, high = area.interval()
    random = random_direction_accuracy(sample.x_train, sample.y_train, sample.x_test, y, seed=seed, callback=callback)
    known = ~np.isnan(y)
    # Shuffled labels lie in other clusters than the labels do; all else is measured on the labels.
    own = clustered_auroc(margins[:, :count], y, clusters)
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(sample.labels):
        rows.append(
            row("probe.shuffled", area.value[i], Null(0.5), low=low[i], high=high[i], **_about(area, known, i, name))
        )  # fmt: skip
        rows.append(row("probe.random", random[i], NoNull("it is a null of the accuracy"), **_about(own, known, i, name)))
    if sample.words_test is not None:
        control = control_task(sample.words_test, y, seed, known_rate(sample.y_train))
        on_task = ((margins[:, :count] > 0) == (y == 1)).astype(float)
        on_control = ((margins[:, 2 * count : 3 * count] > 0) == (control == 1)).astype(float)
        for i, name in enumerate(sample.labels):
            if not usable[2 * count + i]:
                rows.append(_no_task(name, len(set(sample.words_train or []))))
                continue
            difference = (on_task - on_control)[known[:, i], i]
            within = _within(mean_interval, difference[:, None], clusters[known[:, i]], own, i)
            rows.append(row("probe.selectivity", difference.mean(), Null(0.0), **within, **_about(own, known, i, name)))
    return rows


def column_rows(sample: Sample, margins: np.ndarray, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """How often the probe with the largest margin is right, by column; ``columns`` has the column of each label."""
    rows: list[dict[str, Any]] = []
    for column in sorted({columns[name] for name in sample.labels if name in columns}):
        places = [i for i, name in enumerate(sample.labels) if columns.get(name) == column]
        if len(places) < 3:
            continue
        y = sample.y_test[:, places]
        # Rows of a value that has no probe, since it is rare, are known and have none of these values.
        known = ~np.isnan(y).all(axis=1)
        truth = np.where(y[known].max(axis=1) == 1, y[known].argmax(axis=1), -1)
        right = margins[known][:, places].argmax(1) == truth
        # Choosing the commonest value by the training split, as a guesser would.
        guess = int(np.nanmean(sample.y_train[:, places], axis=0).argmax())
        clusters = sample.clusters_test[known]
        count = len(np.unique(clusters))
        within = share_interval(right[:, None], clusters)
        ends = {"low": within.low[0], "high": within.high[0]} if count >= ENOUGH else {}
        null = Null(float((truth == guess).mean()))
        rows.append(row("probe.column", right.mean(), null, n=len(right), clusters=count, label=column, **ends))
    return rows


def figure(metrics: pd.DataFrame) -> Any:
    table = metrics[metrics["metric"].eq("probe.auroc")]
    best = table.groupby("label")["value"].max().sort_values(ascending=False)
    # Evenly from the easiest label to the hardest: the easiest eight would be one line at the top.
    chosen = best.index[np.unique(np.linspace(0, len(best) - 1, 8).astype(int))]
    shown = table[table["label"].isin(chosen)].assign(series=lambda t: t["label"])
    return site_lines(shown, "Held-out AUROC of the probes by site", "AUROC", null=0.5)
