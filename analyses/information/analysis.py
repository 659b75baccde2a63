"""The analysis: how many bits of every label each site holds, by two estimators with opposite faults."""

from __future__ import annotations

import warnings
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field

from analyses.information.bound import classifier_bounds
from analyses.information.compress import PCACompressor
from analyses.information.estimate import Estimate
from analyses.information.mixed import mixed_ksg_tested
from analyses.information.neighbours import MOST_ROWS
from analyses.information.null import PERMUTATIONS, held
from analyses.information.variables import MAX_VALUES, Group, Variable, split_by_values, variables
from workbench.activations.labels import POSITION_POOLS, choose_labels, is_span
from workbench.analysis import Context, Metric, Result, SiteAnalysis, measured
from workbench.concepts import ConceptSet, LinearConcepts
from workbench.errors import DataError, WorkbenchWarning
from workbench.evidence.samples import require_fit
from workbench.numbers import counted
from workbench.plots import site_lines
from workbench.progress import shares
from workbench.statistics.correction import ALPHA, holm, least_p
from workbench.statistics.rows import NoNull, Null, row

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

FAMILY = "all labels and sites of the run, by this estimator"
"""The tests whose p values are corrected together."""

MOST_DRAWS = 9_999
METRICS = (
    Metric(
        "mi.bound",
        "Classifier bound",
        "Entropy of the label less the held-out cross-entropy of a linear classifier: a lower bound on the information in the"
        " activation, tight only as far as the label is read linearly. The interval is that of this classifier's bound over"
        " held-out documents. Null: classifiers fitted to labels dealt to other training documents. p: held-out labels dealt to"
        " other held-out documents.",
        unit="bits",
        neutral=0.0,
    ),
    Metric(
        "mi.ksg",
        "Nearest neighbours",
        "Mixed KSG estimate (Ross, 2014) of the information in the first principal coordinates, from neighbours in other"
        " documents; compressing can only lose information, so it may lie below the bound. It has a sampling error by document"
        " and no interval, since its bias may be larger: half of the documents, and twice the neighbours, show how it moves. Null"
        " and p: labels dealt to other documents. Negative values are kept.",
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
        usable, reasons = split_by_values(fits)
        if not usable:
            raise DataError(f"{'; '.join(r['reason'] for r in reasons)}.")
        foresee(labels, len(activations.sites), activations.pool in POSITION_POOLS)

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
                rows.append(_row("mi.bound", bounds[variable.name], group, variable) | common)
                rows.append(_entropy(group, variable) | common)
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
        return Result(concepts=concepts, metrics=metrics, tables=tables, figures={"information": _figure(metrics)})

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
        return [_row("mi.ksg", found, group, variable, chosen)]


def most_draws(tests: int, least: int) -> int:
    """Draws with which the smallest p value is what Holm's correction over so many tests needs; at most `MOST_DRAWS`."""
    return max(least, min(MOST_DRAWS, max(999, int(np.ceil(1 / least_p(tests))))))


def foresee(labels: list[str], sites: int, by_position: bool) -> None:
    """Warn, before the run is recorded, where no corrected p value can be below .05 with the most permutations there are."""
    columns = Counter(name.split("=")[0] for name in labels if not is_span(name))
    usable = sum(values <= MAX_VALUES for values in columns.values()) + by_position * sum(map(is_span, labels))
    most = int(ALPHA * (1 + MOST_DRAWS))
    if usable * sites > most:
        warnings.warn(
            f"{counted(usable, 'label')} at {counted(sites, 'site')} are up to {usable * sites:,} tests that are corrected"
            f" together, by each estimator: with {MOST_DRAWS:,} permutations no corrected p value over more than {most:,} can be"
            " below .05. Give fewer labels (labels=…) or sites (sites=…).",
            WorkbenchWarning,
            stacklevel=2,
        )


def corrected(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows with Holm's p values over all labels and sites of each estimator, and the family's name."""
    metrics = metrics.copy()
    for key in metrics.loc[metrics["p"].notna(), "metric"].unique():
        own = metrics["metric"].eq(key) & metrics["p"].notna()
        metrics.loc[own, "p_corrected"] = holm(metrics.loc[own, "p"].to_numpy(dtype=float))
        metrics.loc[own, "family"] = f"{FAMILY}: {int(own.sum())} tests"
    return metrics


def _row(metric: str, found: Estimate, group: Group, variable: Variable, rows: Any = None) -> dict[str, Any]:
    known = np.flatnonzero(variable.y_test >= 0) if rows is None else rows
    counts = held(variable.y_test[known], group.clusters_test[known])
    null = Null(found.null, found.null_high, found.p, "" if np.isnan(found.p) else FAMILY)
    return row(
        metric, found.value, null, n=found.n, low=found.low, high=found.high,
        clusters=counts.clusters, clusters_positive=counts.fewer, standard_error=found.standard_error,
        at_half_n=found.at_half_n, at_twice_k=found.at_twice_k, kind=found.kind, note=found.note,
    )  # fmt: skip


def _entropy(group: Group, variable: Variable) -> dict[str, Any]:
    known = variable.y_test >= 0
    share = np.bincount(variable.y_test[known]) / known.sum()
    entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
    counts = held(variable.y_test[known], group.clusters_test[known])
    why = NoNull("a property of the labels alone")
    return row("mi.entropy", entropy, why, n=int(known.sum()), clusters=counts.clusters, clusters_positive=counts.fewer)


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
    null = shown.groupby("site", sort=False)["null_high"].max().reset_index(name="value").assign(series="null, 95th percentile")
    return site_lines(pd.concat([shown, null]), "Information about labels by site (classifier bound)", "bits", null=0.0)
