"""The analysis: one logistic probe a label and site, measured on held-out examples beside four controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from probes import LogisticProbe, control_task, known_rate, majority_accuracy, random_direction_accuracy, shuffled_labels
from workbench.activations.labels import choose_labels, labelled, one_of_two
from workbench.analysis import Context, Metric, Result, SiteAnalysis
from workbench.concepts import LinearConcepts
from workbench.evidence.samples import Sample, require_fit, samples
from workbench.numbers import counted
from workbench.plots import site_lines
from workbench.progress import Progress, shares
from workbench.statistics.auroc import Area, average_precision, clustered_auroc
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.intervals import Interval, mean_interval, share_interval
from workbench.statistics.rows import NoNull, Null, row

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

METRICS = (
    Metric(
        "probe.auroc",
        "AUROC",
        "Area under the ROC curve on the test split; interval over documents; null: chance. The row Shuffled stands beside it:"
        " the same probe fitted to and tried on shuffled labels.",
        neutral=0.5,
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
        neutral=0.0,
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


# About how long it takes a row to be fitted, for each of its numbers and each label; to be turned to the principal axes, for each
# pair of its numbers; and to be scored by 100 random directions, for each label.
_FIT_NS, _TURN_NS, _RANDOM_NS = 0.6, 0.2, 2500.0
# What a site gives, by level, and the labels that it skips.
_Probed = tuple[list[tuple[LinearConcepts, list[dict[str, Any]]]], list[dict[str, str]]]


class LinearProbes(SiteAnalysis):
    """Fit a logistic probe (Alain and Bengio, 2016) for every label at every site; each probe is a concept.

    A label of spans is probed on positions, a label of examples on the mean activation of each example. A column with two values
    gets one probe, whose other side is the other value.
    """

    name: ClassVar[str] = "linear_probe"
    title: ClassVar[str] = "Linear probes"
    method: ClassVar[str] = "probe"
    # 3: a word has one label of the control task in both splits; features that hold rounding alone count as constant.
    version: ClassVar[int] = 3
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    labels: str | tuple[str, ...] | None = Field(
        None, description="A label, a column, 'tokens', or several; all when left out.",
        json_schema_extra={"choices": "labels", "formerly": "target"},
    )  # fmt: skip
    C: float = Field(0.02, gt=0, description="Inverse strength of the L2 penalty, as in scikit-learn.")
    max_rows: int = Field(40_000, ge=100, description="Rows to train on, drawn by whole examples.")
    max_iter: int = Field(200, ge=1, description="Largest number of solver steps.")
    controls: bool = Field(True, description="Also fit the control probes.")

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """See that there are such labels, with rows to fit and score them."""
        require_fit(activations, dataset, self._labels(dataset), self.labels, self.max_rows, seed)

    def shared(self, context: Context) -> list[str]:
        """The labels."""
        return self._labels(context.dataset)

    def at_site(self, context: Context, site: str, shared: list[str]) -> _Probed:
        """Probe a site."""
        skipped: list[dict[str, str]] = []
        return [self._probe(sample, site, context) for sample in samples(context, site, shared, self.max_rows, skipped)], skipped

    def joined(self, context: Context, shared: list[str], parts: list[_Probed]) -> Result:
        """Every site together."""
        result, rows = Result(), []
        # The same labels are skipped at every site: they are told once.
        skipped = parts[0][1]
        for probed, _ in parts:
            for found, metrics in probed:
                result.concepts.append(found)
                rows += metrics
        result.metrics = pd.DataFrame(rows)
        result.tables["skipped"] = pd.DataFrame(skipped, columns=["label", "reason"])
        result.figures["auroc"] = _figure(result.metrics)
        return result

    def _labels(self, dataset: Dataset) -> list[str]:
        return one_of_two(dataset, choose_labels(dataset, self.labels))[0]

    def _probe(self, sample: Sample, site: str, context: Context) -> tuple[LinearConcepts, list[dict[str, Any]]]:
        true = sample.y_train
        columns = [true]
        if self.controls:
            columns.append(shuffled_labels(true, context.seed, sample.clusters_train))
            if sample.words_train is not None:
                columns.append(control_task(sample.words_train, true, context.seed, known_rate(true)))
        count = true.shape[1]
        usable = [bool(len(np.unique(y[~np.isnan(y)])) == 2) for y in np.concatenate(columns, axis=1).T]
        stacked = np.concatenate(columns, axis=1)
        probe = LogisticProbe(C=self.C, max_iter=self.max_iter, tol=1e-4, balanced=False)
        fitting, scoring = shares(sample.progress, _costs(sample, stacked.shape[1], self.controls))
        probe.fit(sample.x_train, stacked[:, usable], callback=_by_share(fitting, f"fitting {counted(count, 'label')}"))
        weights, bias = np.zeros((stacked.shape[1], sample.x_train.shape[1])), np.zeros(stacked.shape[1])
        weights[usable], bias[usable] = probe.coef_, probe.intercept_
        margins = sample.x_test @ weights.T + bias
        rows = _scores(sample, margins[:, :count])
        if self.controls:
            rows += _controls(sample, margins, usable, context.seed, _by_share(scoring, "random directions"))
        rows += _columns(sample, margins[:, :count])
        concepts = LinearConcepts(
            site,
            torch.from_numpy(weights[:count]).float(),
            torch.from_numpy(bias[:count]).float(),
            table=labelled(context.dataset, sample.labels),
            level=sample.level,
        )
        return concepts, [found | {"site": site} for found in rows]


def _costs(sample: Sample, columns: int, controls: bool) -> list[float]:
    """About how long it takes to fit columns of labels, and to score them with their controls, in nanoseconds."""
    n, width = sample.x_train.shape
    fit = _FIT_NS * width * columns + _TURN_NS * width**2
    return [n * fit, (n if controls else 0) * _RANDOM_NS * sample.y_test.shape[1] + len(sample.x_test)]


def _by_share(progress: Progress, text: str) -> Callable[[float], None]:
    return lambda share: progress(round(1000 * share), 1000, text)


def _scores(sample: Sample, margins: np.ndarray) -> list[dict[str, Any]]:
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


def _controls(
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


def _columns(sample: Sample, margins: np.ndarray) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    columns = sorted({name.split("=")[0] for name in sample.labels if "=" in name})
    for column in columns:
        places = [i for i, name in enumerate(sample.labels) if name.startswith(f"{column}=")]
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


def _figure(metrics: pd.DataFrame) -> Any:
    table = metrics[metrics["metric"].eq("probe.auroc")]
    best = table.groupby("label")["value"].max().sort_values(ascending=False)
    # Evenly from the easiest label to the hardest: the easiest eight would be one line at the top.
    chosen = best.index[np.unique(np.linspace(0, len(best) - 1, 8).astype(int))]
    shown = table[table["label"].isin(chosen)].assign(series=lambda t: t["label"])
    return site_lines(shown, "Held-out AUROC of the probes by site", "AUROC", null=0.5)
