"""The analysis: how many bits of every label each site holds, by two estimators with opposite faults."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field

from analyses.information.bound import classifier_bounds
from analyses.information.compress import PCACompressor
from analyses.information.estimate import Estimate, with_floor
from analyses.information.knn import mixed_ksg
from analyses.information.variables import Variable, variables
from workbench.activations.labels import choose_labels
from workbench.analysis import Context, Metric, Result, SiteAnalysis, failed_rows
from workbench.concepts import ConceptSet, LinearConcepts
from workbench.errors import DataError
from workbench.plots import site_lines

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

METRICS = (
    Metric(
        "mi.bound",
        "Classifier bound",
        "Entropy of the label less the held-out cross-entropy of a linear classifier: a lower bound on the information in the"
        " activation, tight only as far as the label is read linearly; null: classifiers fitted to labels permuted by example.",
        unit="bits",
        neutral=0.0,
    ),
    Metric(
        "mi.ksg",
        "Nearest neighbours",
        "Mixed KSG estimate (Ross, 2014) of the information in the first principal coordinates; compressing can only lose"
        " information, so it may lie below the bound; null: labels permuted by example. Negative values are kept.",
        unit="bits",
        neutral=0.0,
    ),
    Metric(
        "mi.entropy",
        "Entropy",
        "Entropy of the label on the test split: no estimate should be above it. Like the estimates, without the rows of values"
        " that are too rare to be estimated.",
        unit="bits",
        shown=False,
    ),
)


# What a site gives: its principal directions, the rows of each variable, and the labels that it skips.
_Estimated = tuple[list[LinearConcepts], list[dict[str, Any]], list[dict[str, str]]]


class MutualInformation(SiteAnalysis):
    """Estimate the mutual information of each site with each label, with a permuted floor beside every number.

    One estimator bounds from below by a linear classifier (Barber and Agakov, 2003). The other is continuous: nearest
    neighbours after compression to a few principal coordinates, where such estimators can be trusted. The principal directions
    are kept as concepts and can stand trial like any other.
    """

    name: ClassVar[str] = "mutual_information"
    title: ClassVar[str] = "Mutual information"
    method: ClassVar[str] = "PCA"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    labels: str | tuple[str, ...] | None = Field(
        None, description="Labels, columns or 'tokens'; all when left out.",
        json_schema_extra={"choices": "labels", "formerly": "target"},
    )  # fmt: skip
    dimensions: int = Field(6, ge=1, le=10, description="Principal coordinates for the neighbour estimator.")
    neighbours: int = Field(5, ge=2, le=50, description="Neighbours.")
    max_rows: int = Field(8_000, ge=200, description="Rows to fit on; the neighbour estimates use up to an eighth as many.")
    permutations: int = Field(10, ge=5, le=1000, description="Permutations for the floors.")

    def check(self, activations: ActivationSet, dataset: Dataset) -> None:
        """See that there are such labels."""
        choose_labels(dataset, self.labels)

    def shared(self, context: Context) -> list[str]:
        """The labels."""
        return choose_labels(context.dataset, self.labels)

    def at_site(self, context: Context, site: str, shared: list[str]) -> _Estimated:
        """Estimate at a site."""
        concepts: list[LinearConcepts] = []
        rows: list[dict[str, Any]] = []
        skipped: list[dict[str, str]] = []
        compressor = None
        for group in variables(context, site, shared, self.max_rows, skipped):
            if compressor is None:
                compressor = PCACompressor(min(self.dimensions, group.x_train.shape[1])).fit(group.x_train)
                concepts.append(_principal(compressor, site, group.level))
            bounds = classifier_bounds(group, self.permutations, context.seed)
            for variable in group.variables:
                rows += self._rows(variable, bounds[variable.name], compressor, group, site, context.seed)
        return concepts, rows, skipped

    def joined(self, context: Context, shared: list[str], parts: list[_Estimated]) -> Result:
        """Every site together."""
        rows = [row for _, some, _ in parts for row in some]
        if not rows:
            raise DataError(f"None of the labels {', '.join(shared[:8])} has enough captured examples: capture or label more.")
        metrics = pd.DataFrame(rows)
        concepts: list[ConceptSet] = [directions for some, _, _ in parts for directions in some]
        tables = {"skipped": pd.DataFrame(parts[0][2], columns=["label", "reason"])}
        return Result(concepts=concepts, metrics=metrics, tables=tables, figures={"information": _figure(metrics)})

    def _rows(self, variable: Variable, bound: Estimate, compressor: Any, group: Any, site: str, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        known = np.flatnonzero(variable.y_test >= 0)
        # Whole examples: rows next to one another would be each other's neighbours, and the floor permutes examples.
        clusters = group.clusters_test[known]
        order = {c: i for i, c in enumerate(rng.permutation(np.unique(clusters)))}
        ranked = known[np.argsort([order[c] for c in clusters], kind="stable")][: self.max_rows // 8]
        estimator = partial(mixed_ksg, k=self.neighbours, seed=seed)
        z, y = compressor.transform(group.x_test[ranked]), variable.y_test[ranked]
        common = {"site": site, "label": variable.name, "n": len(ranked)}
        try:
            ksg = [_estimate("mi.ksg", with_floor(estimator, z, y, self.permutations, seed, group.clusters_test[ranked]))]
        except DataError as error:
            # A class with fewer rows than neighbours cannot be estimated; the bound still can.
            ksg = failed_rows(["mi.ksg"], error)
        share = np.bincount(variable.y_test[known]) / len(known)
        entropy = float(-(share[share > 0] * np.log2(share[share > 0])).sum())
        out = [common | _estimate("mi.bound", bound), common | {"metric": "mi.entropy", "value": entropy}]
        return out + [common | row for row in ksg]


def _estimate(metric: str, found: Estimate) -> dict[str, Any]:
    half = 1.96 * found.standard_error
    return {
        "metric": metric,
        "value": found.value,
        "low": found.value - half,
        "high": found.value + half,
        "null": found.floor,
        "null_high": found.floor_high,
        "kind": found.kind,
        "n": found.n,
    }


def _principal(compressor: PCACompressor, site: str, level: str) -> LinearConcepts:
    components: Float[np.ndarray, "k d"] = compressor.components_
    weights = torch.from_numpy(np.ascontiguousarray(components)).float()
    bias = -(weights @ torch.from_numpy(compressor.mean_).float())
    names = pd.DataFrame({"name": [f"principal direction {i + 1} of {site}" for i in range(len(weights))]})
    return LinearConcepts(site, weights, bias, table=names, level=level)


def _figure(metrics: pd.DataFrame) -> Any:
    table = metrics[metrics["metric"].eq("mi.bound")]
    best = table.groupby("label")["value"].max().sort_values(ascending=False).index[:5]
    shown = table[table["label"].isin(best)].assign(series=lambda t: t["label"])
    floor = shown.groupby("site", sort=False)["null_high"].max().reset_index(name="value").assign(series="null, 95th percentile")
    return site_lines(pd.concat([shown, floor]), "Information about labels by site (classifier bound)", "bits", null=0.0)
