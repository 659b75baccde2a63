"""The analysis: a concept activation vector a label and site, and its TCAV score for every class of a frozen readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from analyses.concept_activation.tcav import Scores, score
from analyses.concept_activation.vectors import Vectors, fit_vectors
from workbench.activations.labels import choose_labels, labelled, one_of_two
from workbench.analysis import CANNOT_MEASURE, Context, Metric, Result, SiteAnalysis, failed_rows
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError, DataError
from workbench.frames import records
from workbench.plots import site_lines

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
        "tcav.score",
        "TCAV",
        "Share of the class's held-out inputs whose readout logit for the class grows along the vector (Kim et al., 2018). p: the"
        " distance from one half ranked among those of random sets of the same size, Holm-corrected over the site.",
        direction="none",
        neutral=0.5,
    ),
    Metric(
        "tcav.magnitude",
        "Magnitude",
        "Mean directional derivative of the class's logit along the unit vector; null: 95th percentile among random sets.",
        unit="logits",
        direction="none",
        shown=False,
        neutral=0.0,
    ),
)


@dataclass(frozen=True)
class _Shared:
    """The labels, and the gradients of the readout's logits at each site, or failed rows of what is measured by them."""

    wanted: list[str]
    gradients: dict[str, dict[str, torch.Tensor]]
    failed: list[dict[str, Any]]


# What a site gives: by level the vectors, their metrics, and their scores for every class; and the labels that it skips.
_Scored = tuple[list[tuple[LinearConcepts, list[dict[str, Any]], pd.DataFrame | None]], list[dict[str, str]]]


class ConceptActivation(SiteAnalysis):
    """Fit a vector for every labelled concept from its examples against random ones, and test its pull on every class.

    The usual t-test of concept runs against random runs rejects far too often. Here a whole random set, fitted the same way, is
    one draw of the null, and the concept is ranked among at least 19 of them.
    """

    name: ClassVar[str] = "concept_activation"
    title: ClassVar[str] = "Concept activation vectors (TCAV)"
    method: ClassVar[str] = "CAV"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    # 2: gradients are summed over the positions that a capture takes, without special tokens; two classes have one vector.
    version: ClassVar[int] = 2

    labels: str | tuple[str, ...] | None = Field(
        None, description="Labels, columns or 'tokens' to fit vectors for; all when left out. A column with two values gets one.",
        json_schema_extra={"choices": "labels", "formerly": "concepts"},
    )  # fmt: skip
    classes: str | None = Field(
        None, description="The column whose values are the classes; the one with most values when left out.",
        json_schema_extra={"choices": "columns"},
    )  # fmt: skip
    estimator: Literal["logistic", "pattern", "mean_difference", "svm", "ridge"] = Field(
        "logistic", description="How a vector is fitted; 'pattern' is robust to distractors."
    )
    per_side: int = Field(200, ge=10, description="Rows with and without the concept to fit from.")
    random_sets: int = Field(29, ge=19, description="Random sets; 19 is the least for a p of .05.")
    per_class: int = Field(30, ge=10, description="Held-out inputs a class.")

    def check(self, activations: ActivationSet, dataset: Dataset) -> None:
        """See that there are such labels, and a column of classes of that name."""
        choose_labels(dataset, self.labels)
        columns = [label.name for label in dataset.example_labels if label.kind == "class"]
        if self.classes is not None and self.classes not in columns:
            known = ", ".join(columns) or "none"
            raise ConfigError(f"classes='{self.classes}' is no label column of data set '{dataset.name}'; it has {known}.")

    def shared(self, context: Context) -> _Shared:
        """The labels, and the gradients of one pass on which every site is scored."""
        dataset = context.dataset
        wanted, _ = one_of_two(dataset, choose_labels(dataset, self.labels))
        try:
            readout = context.readout()
        except CANNOT_MEASURE as error:
            return _without_scores(wanted, error)
        # The score of one of two classes is one less that of the other.
        classes, _ = one_of_two(dataset, self._classes(context, readout.labels, wanted))
        sites = [str(s) for s in context.activations.sites]
        try:
            # The inputs of a class are the same for every seed: a seed draws other examples for the vectors.
            gradients = context.gradients(sites, classes, self.per_class)
            if not all(gradients.values()):
                raise DataError(f"No input of the test split is of any of the classes {', '.join(classes[:8])}.")
        except CANNOT_MEASURE as error:
            return _without_scores(wanted, error)
        return _Shared(wanted, gradients, [])

    def at_site(self, context: Context, site: str, shared: _Shared) -> _Scored:
        """Fit at a site, and score."""
        skipped: list[dict[str, str]] = []
        levels = [
            (
                _concepts(vectors, site, context.dataset),
                [row | {"site": site} for row in vectors.metrics],
                _table(score(vectors, shared.gradients[site]), vectors.labels, site) if shared.gradients else None,
            )
            for vectors in fit_vectors(self, context, site, shared.wanted, skipped)
        ]
        return levels, skipped

    def joined(self, context: Context, shared: _Shared, parts: list[_Scored]) -> Result:
        """Every site together."""
        result, rows = Result(), list(shared.failed)
        table: list[pd.DataFrame] = []
        for concepts, metrics, scored in (level for levels, _ in parts for level in levels):
            result.concepts.append(concepts)
            rows += metrics
            table += [] if scored is None else [scored]
        if not result.concepts:
            raise DataError(
                f"None of the labels {', '.join(shared.wanted[:8])} has enough captured examples for a vector: 20 training and 8"
                " test rows with it and without it. Capture or label more examples."
            )
        if not table:
            result.metrics = pd.DataFrame(rows)
            return result
        scores = pd.concat(table, ignore_index=True)
        _holm(scores)
        result.tables["tcav"] = scores
        result.tables["skipped"] = pd.DataFrame(parts[0][1], columns=["label", "reason"])
        result.metrics = pd.DataFrame(rows + _metric_rows(scores))
        result.figures["tcav"] = _figure(scores)
        return result

    def _classes(self, context: Context, known: list[str], wanted: list[str]) -> list[str]:
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


def _without_scores(wanted: list[str], error: BaseException) -> _Shared:
    """The vectors need no model; the scores do, and without it they are failed rows."""
    return _Shared(wanted, {}, failed_rows(["tcav.score", "tcav.magnitude"], error))


def _concepts(vectors: Vectors, site: str, dataset: Dataset) -> LinearConcepts:
    weights, bias = torch.from_numpy(vectors.weights).float(), torch.from_numpy(vectors.bias).float()
    return LinearConcepts(site, weights, bias, table=labelled(dataset, vectors.labels), level=vectors.level)


def _table(scores: Scores, labels: list[str], site: str) -> pd.DataFrame:
    c, q = scores.share.shape
    return pd.DataFrame(
        {
            "site": site,
            "concept": np.repeat(labels, q),
            "class": np.tile(scores.classes, c),
            "score": scores.share.ravel(),
            "low": scores.low.ravel(),
            "high": scores.high.ravel(),
            "null_low": 0.5 - np.repeat(scores.reach[None], c, 0).ravel(),
            "null_high": 0.5 + np.repeat(scores.reach[None], c, 0).ravel(),
            "magnitude": scores.magnitude.ravel(),
            "magnitude_null_high": np.repeat(scores.magnitude_reach[None], c, 0).ravel(),
            "p": scores.p.ravel(),
            "n": np.tile(scores.counts, c),
        }
    )


def _holm(table: pd.DataFrame) -> None:
    table["p_holm"] = np.nan
    for _, part in table.groupby("site"):
        order = part["p"].sort_values(kind="stable")
        factors = np.arange(len(order), 0, -1)
        table.loc[order.index, "p_holm"] = np.minimum(np.maximum.accumulate(order.to_numpy() * factors), 1.0)


def _metric_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in records(scores):
        common = {"site": row["site"], "label": row["concept"], "class": row["class"], "n": row["n"]}
        rows.append(
            common
            | {"metric": "tcav.score", "value": row["score"], "low": row["low"], "high": row["high"]}
            | {"null": 0.5, "null_high": row["null_high"], "p": row["p"]}
        )
        rows.append(common | {"metric": "tcav.magnitude", "value": row["magnitude"], "null_high": row["magnitude_null_high"]})
    return rows


def _figure(scores: pd.DataFrame) -> Any:
    # The pairs that stand farthest outside their null, one a concept, over the sites.
    beyond = (scores["score"] - 0.5).abs() - (scores["null_high"] - 0.5)
    best = scores.assign(beyond=beyond).sort_values("beyond", ascending=False).drop_duplicates("concept").head(6)
    pairs = set(zip(best["concept"], best["class"], strict=True))
    shown = scores[[pair in pairs for pair in zip(scores["concept"], scores["class"], strict=True)]]
    shown = shown.assign(value=shown["score"], series=shown["concept"] + " → " + shown["class"])
    return site_lines(shown, "TCAV score of the strongest pairs by site", "share of inputs", null=0.5)
