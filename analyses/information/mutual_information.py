"""The analysis: how many bits of every label each site holds, by two estimators with opposite faults."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field

from analyses.information._shared.bound import classifier_bounds
from analyses.information._shared.rows import METRICS, corrected, entropy_row, estimate_row, figure, foresee, most_draws
from analyses.information._shared.variables import Group, Variable, split_by_values, variables
from workbench.activations.labels import POSITION_POOLS, choose_labels
from workbench.analysis import Context, Metric, Result, SiteAnalysis, measured
from workbench.concepts import ConceptSet, LinearConcepts
from workbench.errors import DataError
from workbench.evidence.samples import require_fit
from workbench.information.compress import PCACompressor
from workbench.information.mixed import mixed_ksg_tested
from workbench.information.neighbours import MOST_ROWS
from workbench.information.null import PERMUTATIONS
from workbench.progress import shares

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

# What a site gives: its principal directions, the rows of each variable, and the labels that it skips.
_Estimated = tuple[list[LinearConcepts], list[dict[str, Any]], list[dict[str, str]]]


class MutualInformation(SiteAnalysis):
    """Estimate the mutual information of each site with each label, and hold every number against permuted labels.

    One estimator bounds from below by a linear classifier (Barber and Agakov, 2003). The other is continuous: nearest
    neighbours after compression to a few principal coordinates, where such estimators can be trusted. Documents are the
    independent units throughout: they are permuted, the sampling errors are made over them, and no row is a neighbour of another
    of its document. The principal directions are kept as concepts and can stand trial like any other.
    """

    name: ClassVar[str] = "mutual_information"
    title: ClassVar[str] = "Mutual information"
    method: ClassVar[str] = "PCA"
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    labels: str | tuple[str, ...] | None = Field(
        None, description="Labels, columns or 'tokens'; all when left out.",
        json_schema_extra={"choices": "labels", "formerly": "target"},
    )  # fmt: skip
    dimensions: int = Field(6, ge=1, le=10, description="Principal coordinates for the neighbour estimator.")
    neighbours: int = Field(5, ge=2, le=50, description="Neighbours.")
    max_rows: int = Field(8_000, ge=200, description="Rows to fit on; the neighbour estimates use up to an eighth as many.")
    permutations: int = Field(PERMUTATIONS, ge=19, le=1000, description="Permutations for the nulls; 99 or more are advised.")

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """See that there are such labels, with rows to fit and score them, and that not all have too many values.

        Says where they are too many for a corrected p value to be small.
        """
        labels = choose_labels(dataset, self.labels)
        fits = require_fit(activations, dataset, labels, self.labels, self.max_rows, seed)
        columns = dataset.columns_of_labels()
        usable, reasons = split_by_values(fits, columns)
        if not usable:
            raise DataError(f"{'; '.join(r['reason'] for r in reasons)}.")
        foresee(labels, columns, len(activations.sites), activations.pool in POSITION_POOLS)

    def shared(self, context: Context) -> list[str]:
        """The labels."""
        return choose_labels(context.dataset, self.labels)

    def at_site(self, context: Context, site: str, shared: list[str]) -> _Estimated:
        """Estimate at a site."""
        concepts: list[LinearConcepts] = []
        rows: list[dict[str, Any]] = []
        skipped: list[dict[str, str]] = []
        compressor = None
        draws = most_draws(len(shared) * len(context.activations.sites), self.permutations)
        for group in variables(context, site, shared, self.max_rows, skipped):
            if compressor is None:
                compressor = PCACompressor(min(self.dimensions, group.x_train.shape[1])).fit(group.x_train)
                concepts.append(_principal(compressor, site, group.level))
            # The bounds and the neighbours take about as long.
            bounding, searching = shares(group.progress, [1, 1])
            bounds = classifier_bounds(group, self.permutations, draws, context.seed, progress=bounding)
            for number, variable in enumerate(group.variables):
                searching(number, len(group.variables), f"neighbours and {variable.name}")
                common = {"site": site, "label": variable.name}
                rows.append(estimate_row("mi.bound", bounds[variable.name], group, variable) | common)
                rows.append(entropy_row(group, variable) | common)
                rows += measured(
                    ["mi.ksg"], partial(self._neighbours, variable, compressor, group, draws, context.seed), **common
                )
        return concepts, rows, skipped

    def joined(self, context: Context, shared: list[str], parts: list[_Estimated]) -> Result:
        """Every site together, with the p values corrected for all of its labels and sites."""
        rows = [row for _, some, _ in parts for row in some]
        metrics = corrected(pd.DataFrame(rows))
        concepts: list[ConceptSet] = [directions for some, _, _ in parts for directions in some]
        tables = {"skipped": pd.DataFrame(parts[0][2], columns=["label", "reason"])}
        return Result(concepts=concepts, metrics=metrics, tables=tables, figures={"information": figure(metrics)})

    def _neighbours(
        self, variable: Variable, compressor: PCACompressor, group: Group, draws: int, seed: int
    ) -> list[dict[str, Any]]:
        """The row of the neighbour estimate; a class with fewer rows than neighbours cannot be estimated, the bound still can."""
        known = np.flatnonzero(variable.y_test >= 0)
        rng = np.random.default_rng(seed)
        # Rows of every document rather than few whole documents: those of one document are no neighbours of each other.
        chosen = np.sort(rng.permutation(known)[: min(self.max_rows // 8, MOST_ROWS)])
        z, y, clusters = compressor.transform(group.x_test[chosen]), variable.y_test[chosen], group.clusters_test[chosen]
        found = mixed_ksg_tested(z, y, self.neighbours, clusters, self.permutations, draws, seed)
        return [estimate_row("mi.ksg", found, group, variable, chosen)]


def _principal(compressor: PCACompressor, site: str, level: str) -> LinearConcepts:
    components: Float[np.ndarray, "k d"] = compressor.components_
    weights = torch.from_numpy(np.ascontiguousarray(components)).float()
    bias = -(weights @ torch.from_numpy(compressor.mean_).float())
    names = pd.DataFrame({"name": [f"principal direction {i + 1} of {site}" for i in range(len(weights))]})
    return LinearConcepts(site, weights, bias, table=names, level=level)
