"""The analysis: a concept activation vector a label and site, and its TCAV score for every class of a frozen readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from analyses.directions._shared.classes import choose_classes, foresee, require_classes
from analyses.directions._shared.tables import METRICS, SCORES, corrected, figure, metric_rows, scores_table
from analyses.directions._shared.tcav import score
from analyses.directions._shared.vectors import POOL_ROWS, Vectors, fit_sample
from workbench.activations.labels import choose_labels, labelled, one_of_two
from workbench.analysis import CANNOT_MEASURE, Context, Metric, Result, SiteAnalysis, failed_rows
from workbench.concepts import LinearConcepts
from workbench.errors import DataError
from workbench.evidence.samples import require_fit, samples
from workbench.readout import examples_with
from workbench.statistics.clusters import example_clusters

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset


@dataclass(frozen=True)
class _Shared:
    """The labels, and the gradients of the readout's logits at each site, or failed rows of what is measured by them.

    ``clusters`` are the documents of the inputs, by class.
    """

    wanted: list[str]
    gradients: dict[str, dict[str, torch.Tensor]]
    clusters: dict[str, np.ndarray]
    failed: list[dict[str, Any]]


# What a site gives: by level the vectors, their metrics, and their scores for every class; and the labels that it skips.
_Scored = tuple[list[tuple[LinearConcepts, list[dict[str, Any]], pd.DataFrame | None]], list[dict[str, str]]]


class ConceptActivation(SiteAnalysis):
    """Fit a vector for every labelled concept from its examples against random ones, and test its pull on every class.

    The usual t-test of concept runs against random runs rejects far too often. Here a whole random set is one draw of the null:
    the concept's own rows, with its labels dealt out anew among their documents, fitted the same way. The mean derivative along
    the vector is held against those of the random sets.
    """

    name: ClassVar[str] = "concept_activation"
    title: ClassVar[str] = "Concept activation vectors (TCAV)"
    method: ClassVar[str] = "CAV"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    # 2: gradients are summed over the positions that a capture takes, without special tokens; two classes have one vector.
    # 3: each concept has random sets of its own, and the mean derivative is tested.
    version: ClassVar[int] = 3

    labels: str | tuple[str, ...] | None = Field(
        None, description="Labels, columns or 'tokens' to fit vectors for; all when left out. A column with two values gets one.",
        json_schema_extra={"choices": "labels", "formerly": "concepts"},
    )  # fmt: skip
    classes: str | None = Field(
        None, description="The column whose values are the classes; the one with most values when left out.",
        json_schema_extra={"choices": "columns"},
    )  # fmt: skip
    estimator: Literal["logistic", "pattern", "mean_difference", "svm", "ridge"] = Field(
        "logistic",
        description="How a vector is fitted. 'pattern' and 'mean_difference' are robust to distractors that are independent of"
        " the label; where a distractor follows the label they turn towards it, and 'logistic' does so less.",
    )
    per_side: int = Field(200, ge=10, description="Rows with and without the concept to fit from.")
    random_sets: int = Field(59, ge=19, description="Random sets of each concept; with more, smaller effects are found.")
    per_class: int = Field(30, ge=10, description="Held-out inputs a class.")

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """See that there are such labels, with rows to fit and score them, and such a column of classes with examples."""
        require_fit(activations, dataset, self._labels(dataset), self.labels, POOL_ROWS, seed)
        if self.classes is not None:
            require_classes(dataset, self.classes)

    def shared(self, context: Context) -> _Shared:
        """The labels, and the gradients of one pass on which every site is scored."""
        dataset = context.dataset
        wanted = self._labels(dataset)
        try:
            # The score of one of two classes is one less that of the other.
            columns, known = dataset.columns_of_labels(), context.readout().labels
            classes, _ = one_of_two(dataset, choose_classes(self.classes, known, wanted, columns))
        except CANNOT_MEASURE as error:
            return _without_scores(wanted, error)
        sites = [str(s) for s in context.activations.sites]
        try:
            # The inputs of a class are the same for every seed: a seed draws other examples for the vectors.
            gradients = context.gradients(sites, classes, self.per_class)
            inputs = examples_with(dataset, classes, self.per_class)
            if not all(gradients.values()):
                raise DataError(f"No input of the test split is of any of the classes {', '.join(classes[:8])}.")
        except CANNOT_MEASURE as error:
            return _without_scores(wanted, error)
        width = max(context.activations.at(site).width() for site in sites)
        foresee(len(wanted) * len(classes) * len(sites), self.random_sets, width)
        return _Shared(wanted, gradients, {c: example_clusters(dataset, inputs[c]) for c in classes}, [])

    def at_site(self, context: Context, site: str, shared: _Shared) -> _Scored:
        """Fit at a site, and score."""
        skipped: list[dict[str, str]] = []
        levels = []
        for sample in samples(context, site, shared.wanted, POOL_ROWS, skipped):
            vectors = fit_sample(sample, self.estimator, per_side=self.per_side, sets=self.random_sets, seed=context.seed)
            table = None
            if shared.gradients:
                table = scores_table(vectors, score(vectors, shared.gradients[site], shared.clusters), site)
            metrics = [found | {"site": site} for found in vectors.metrics]
            levels.append((_concepts(vectors, site, context.dataset), metrics, table))
        return levels, skipped

    def joined(self, context: Context, shared: _Shared, parts: list[_Scored]) -> Result:
        """Every site together."""
        result, rows = Result(), list(shared.failed)
        table: list[pd.DataFrame] = []
        for concepts, metrics, scored in (level for levels, _ in parts for level in levels):
            result.concepts.append(concepts)
            rows += metrics
            table += [] if scored is None else [scored]
        result.tables["skipped"] = pd.DataFrame(parts[0][1], columns=["label", "reason"])
        if not table:
            result.metrics = pd.DataFrame(rows)
            return result
        scores = corrected(pd.concat(table, ignore_index=True))
        result.tables["tcav"] = scores.drop(columns="reason")
        result.metrics = pd.DataFrame(rows + metric_rows(scores))
        result.figures["tcav"] = figure(scores)
        return result

    def _labels(self, dataset: Dataset) -> list[str]:
        return one_of_two(dataset, choose_labels(dataset, self.labels))[0]


def _without_scores(wanted: list[str], error: BaseException) -> _Shared:
    """The vectors need no model; the scores do, and without it they are failed rows."""
    return _Shared(wanted, {}, {}, failed_rows(SCORES, error))


def _concepts(vectors: Vectors, site: str, dataset: Dataset) -> LinearConcepts:
    weights, bias = torch.from_numpy(vectors.weights).float(), torch.from_numpy(vectors.bias).float()
    return LinearConcepts(site, weights, bias, table=labelled(dataset, vectors.labels), level=vectors.level)
