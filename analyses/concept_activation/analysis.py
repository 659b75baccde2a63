"""The analysis: a concept activation vector a label and site, and its TCAV score for every class of a frozen readout."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from analyses.concept_activation.tcav import Scores, out_of_reach, score
from analyses.concept_activation.vectors import POOL_ROWS, Vectors, fit_vectors
from workbench.activations.labels import choose_labels, labelled, one_of_two
from workbench.analysis import CANNOT_MEASURE, Context, Metric, Result, SiteAnalysis, failed_rows
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError, DataError, WorkbenchWarning
from workbench.evidence.samples import require_fit
from workbench.frames import records
from workbench.numbers import counted
from workbench.plots import site_lines
from workbench.readout import MIN_POSITIVES, examples_with
from workbench.statistics.clusters import ENOUGH, example_clusters
from workbench.statistics.correction import holm, least_p
from workbench.statistics.rows import Null, row

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset

METRICS = (
    Metric(
        "cav.auroc",
        "CAV AUROC",
        "How well the vector tells the concept on held-out rows; null: chance.",
        neutral=0.5,
    ),
    Metric(
        "tcav.effect",
        "TCAV effect",
        "Mean directional derivative of the class's logit along the vector, less the mean of the concept's random sets, in their"
        " deviations. p: two-sided, against random sets fitted the same way; corrected by Holm over all tests of the run.",
        unit="deviations",
        direction="none",
        neutral=0.0,
    ),
    Metric(
        "tcav.score",
        "TCAV score",
        "Share of the class's held-out inputs whose readout logit for the class grows along the vector (Kim et al., 2018: the"
        " sign count); null: its mean among the random sets. Where a class's gradients are alike it is 0 or 1 for any vector: the"
        " effect is what is tested.",
        direction="none",
        neutral=0.5,
    ),
    Metric(
        "tcav.magnitude",
        "Magnitude",
        "Mean directional derivative of the class's logit along the unit vector; null: its mean and the 95th percentile of its"
        " size among random sets.",
        unit="logits",
        direction="none",
        shown=False,
        neutral=0.0,
    ),
)
SCORES = ["tcav.effect", "tcav.score", "tcav.magnitude"]


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
            _require_classes(dataset, self.classes)

    def shared(self, context: Context) -> _Shared:
        """The labels, and the gradients of one pass on which every site is scored."""
        dataset = context.dataset
        wanted = self._labels(dataset)
        try:
            # The score of one of two classes is one less that of the other.
            classes, _ = one_of_two(dataset, self._classes(context.readout().labels, wanted))
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
        self._foresee(context, len(wanted) * len(classes) * len(sites))
        return _Shared(wanted, gradients, {c: example_clusters(dataset, inputs[c]) for c in classes}, [])

    def at_site(self, context: Context, site: str, shared: _Shared) -> _Scored:
        """Fit at a site, and score."""
        skipped: list[dict[str, str]] = []
        levels = []
        for vectors in fit_vectors(self, context, site, shared.wanted, skipped):
            table = None
            if shared.gradients:
                table = _table(vectors, score(vectors, shared.gradients[site], shared.clusters), site)
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
        scores = _corrected(pd.concat(table, ignore_index=True))
        result.tables["tcav"] = scores.drop(columns="reason")
        result.metrics = pd.DataFrame(rows + _metric_rows(scores))
        result.figures["tcav"] = _figure(scores)
        return result

    def _foresee(self, context: Context, tests: int) -> None:
        """Say before the run where no corrected p value could reach .05."""
        width = max(context.activations.at(str(site)).width() for site in context.activations.sites)
        if out_of_reach(tests, self.random_sets, width):
            warnings.warn(
                f"{counted(tests, 'test')} are corrected together, against {self.random_sets} random sets each, at a width of"
                f" {width}: no corrected p value can reach .05. Name fewer labels, a column of fewer classes or fewer sites, or"
                " raise random_sets.",
                WorkbenchWarning,
                stacklevel=2,
            )

    def _labels(self, dataset: Dataset) -> list[str]:
        return one_of_two(dataset, choose_labels(dataset, self.labels))[0]

    def _classes(self, known: list[str], wanted: list[str]) -> list[str]:
        columns: dict[str, list[str]] = {}
        for label in known:
            if "=" in label and not label.startswith(("token:", "region:")):
                columns.setdefault(label.split("=")[0], []).append(label)
        if self.classes is not None and self.classes not in columns:
            raise ConfigError(
                f"classes='{self.classes}' is not a label column that the readout knows; it knows {', '.join(columns) or 'none'}."
            )
        if columns:
            return columns[self.classes or max(columns, key=lambda c: len(columns[c]))]
        # Data with labelled spans only: the readout says whether an example holds one.
        return [label for label in known if label in wanted] or known


def _require_classes(dataset: Dataset, column: str) -> None:
    """See that a column has values on which a readout can be fitted, and examples to score; more than were captured may count.

    Raises:
        ConfigError: There is no such column of classes.
        DataError: None of its values has enough examples.
    """
    columns = [label.name for label in dataset.example_labels if label.kind == "class"]
    if column not in columns:
        known = ", ".join(columns) or "none"
        raise ConfigError(f"classes='{column}' is no label column of data set '{dataset.name}'; it has {known}.")
    names, values = dataset.example_targets()
    of_column = values[:, [name.startswith(f"{column}=") for name in names]]
    train, test = (of_column[dataset.table["split"].eq(split).to_numpy()] for split in ("train", "test"))
    fewer = np.minimum((train == 1).sum(axis=0), (train == 0).sum(axis=0))
    if not ((fewer >= MIN_POSITIVES) & (test == 1).any(axis=0)).any():
        raise DataError(
            f"None of the values of classes='{column}' has {MIN_POSITIVES} training examples with it, {MIN_POSITIVES} without it"
            f" and a test example: the most that one has are {fewer.max(initial=0)} of the rarer. Choose a column of fewer"
            " values, or label more examples."
        )


def _without_scores(wanted: list[str], error: BaseException) -> _Shared:
    """The vectors need no model; the scores do, and without it they are failed rows."""
    return _Shared(wanted, {}, {}, failed_rows(SCORES, error))


def _concepts(vectors: Vectors, site: str, dataset: Dataset) -> LinearConcepts:
    weights, bias = torch.from_numpy(vectors.weights).float(), torch.from_numpy(vectors.bias).float()
    return LinearConcepts(site, weights, bias, table=labelled(dataset, vectors.labels), level=vectors.level)


def _table(vectors: Vectors, scores: Scores, site: str) -> pd.DataFrame:
    c, q = scores.share.shape
    fewer = np.minimum(vectors.counts.positive, vectors.counts.negative)
    return pd.DataFrame(
        {
            "site": site,
            "concept": np.repeat(vectors.labels, q),
            "class": np.tile(scores.classes, c),
            "effect": scores.effect.ravel(),
            "effect_high": scores.effect_high,
            "p": scores.p.ravel(),
            "rows": np.repeat(vectors.rows, q),
            "row_clusters": np.repeat(vectors.counts.every, q),
            "row_clusters_fewer": np.repeat(fewer, q),
            "score": scores.share.ravel(),
            "low": scores.share_range.low.ravel(),
            "high": scores.share_range.high.ravel(),
            "null": scores.share_null.ravel(),
            "magnitude": scores.magnitude.ravel(),
            "magnitude_low": scores.magnitude_range.low.ravel(),
            "magnitude_high": scores.magnitude_range.high.ravel(),
            "magnitude_null": scores.magnitude_null.ravel(),
            "magnitude_null_high": scores.magnitude_high.ravel(),
            "n": np.tile(scores.counts, c),
            "clusters": np.tile(scores.clusters, c),
            "least": scores.least.ravel(),
            "reason": np.repeat([vectors.counts.reason(i) for i in range(c)], q),
        }
    )


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """With Holm's p over every test of the run, what that family is, and whether a corrected p of .05 could be reached at all."""
    tests = int(table["p"].notna().sum())
    classes = table["class"].nunique()
    family = (
        f"TCAV: {counted(tests, 'test')} of the run, {counted(table['concept'].nunique(), 'concept')} by"
        f" {classes} {'class' if classes == 1 else 'classes'} at {counted(table['site'].nunique(), 'site')}"
    )
    reachable = (table["least"] <= least_p(tests)) | table["p"].isna()
    return table.assign(
        p_corrected=holm(table["p"].to_numpy()), family=np.where(table["p"].notna(), family, ""), reachable=reachable
    )


def _metric_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for found in records(scores):
        common = {"site": found["site"], "label": found["concept"], "class": found["class"]}
        tested = Null(0.0, found["effect_high"], found["p"], found["family"], found["p_corrected"])
        inputs = {"n": int(found["n"]), "clusters": int(found["clusters"])}
        rows += [
            row(
                "tcav.effect", found["effect"], tested, n=int(found["rows"]), clusters=int(found["row_clusters"]),
                clusters_positive=int(found["row_clusters_fewer"]), note=_note(found), **common,
            ),
            row(
                "tcav.score", found["score"], Null(found["null"]), low=found["low"], high=found["high"],
                note=_few(found), **inputs, **common,
            ),
            row(
                "tcav.magnitude", found["magnitude"], Null(found["magnitude_null"], found["magnitude_null_high"]),
                low=found["magnitude_low"], high=found["magnitude_high"], **inputs, **common,
            ),
        ]  # fmt: skip
    return rows


def _note(found: dict[str, Any]) -> str:
    """What is to be said of a test; the same sentence for all the classes of a concept at a site."""
    if found["reason"]:
        return f"'{found['concept']}' has {found['reason']}"
    if not found["reachable"]:
        return (
            f"for '{found['concept']}' no vector could have reached a corrected p of .05 for some of the classes: its random sets"
            " vary as much as the gradient allows, or its documents can be dealt in few ways; try fewer labels, classes or sites"
        )
    return ""


def _few(found: dict[str, Any]) -> str:
    if found["clusters"] >= ENOUGH:
        return ""
    return f"the inputs of '{found['class']}' are of {counted(int(found['clusters']), 'document')}, too few for an interval"


def _figure(scores: pd.DataFrame) -> Any:
    # The pairs that stand farthest outside their null, one a concept, over the sites.
    best = scores.assign(size=scores["effect"].abs()).sort_values("size", ascending=False).drop_duplicates("concept").head(6)
    pairs = set(zip(best["concept"], best["class"], strict=True))
    shown = scores[[pair in pairs for pair in zip(scores["concept"], scores["class"], strict=True)]]
    shown = shown.assign(value=shown["effect"], series=shown["concept"] + " → " + shown["class"])
    shown = shown[["site", "value", "series"]]
    return site_lines(shown, "TCAV effect of the strongest pairs by site", "deviations of the random sets", null=0.0)
