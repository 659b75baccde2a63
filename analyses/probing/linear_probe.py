"""The analysis: one logistic probe a label and site, measured on held-out examples beside four controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from analyses.probing._shared import METRICS, column_rows, control_rows, figure, score_rows
from probes import LogisticProbe, control_task, known_rate, shuffled_labels
from workbench.activations.labels import choose_labels, labelled, one_of_two
from workbench.analysis import Context, Metric, Result, SiteAnalysis
from workbench.concepts import LinearConcepts
from workbench.evidence.samples import Sample, require_fit, samples
from workbench.numbers import counted
from workbench.progress import Progress, shares

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

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
        result.figures["auroc"] = figure(result.metrics)
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
        rows = score_rows(sample, margins[:, :count])
        if self.controls:
            rows += control_rows(sample, margins, usable, context.seed, _by_share(scoring, "random directions"))
        rows += column_rows(sample, margins[:, :count], context.dataset.columns_of_labels())
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
