"""The scores of concept activation vectors as a table and as rows of metrics, corrected over the tests of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.directions._shared.tcav import Scores
from analyses.directions._shared.vectors import Vectors
from workbench.analysis import Metric
from workbench.frames import records
from workbench.numbers import counted
from workbench.plots import site_lines
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.correction import holm, least_p
from workbench.statistics.rows import Null, row

METRICS = (
    Metric(
        "cav.auroc",
        "CAV AUROC",
        "How well the vector tells the concept on held-out rows; null: chance.",
        chance=0.5,
    ),
    Metric(
        "tcav.effect",
        "TCAV effect",
        "Mean directional derivative of the class's logit along the vector, less the mean of the concept's random sets, in their"
        " deviations. p: two-sided, against random sets fitted the same way; corrected by Holm over all tests of the run.",
        unit="deviations",
        direction="none",
        chance=0.0,
    ),
    Metric(
        "tcav.score",
        "TCAV score",
        "Share of the class's held-out inputs whose readout logit for the class grows along the vector (Kim et al., 2018: the"
        " sign count); null: its mean among the random sets. Where a class's gradients are alike it is 0 or 1 for any vector: the"
        " effect is what is tested.",
        direction="none",
        chance=0.5,
    ),
    Metric(
        "tcav.magnitude",
        "Magnitude",
        "Mean directional derivative of the class's logit along the unit vector; null: its mean and the 95th percentile of its"
        " size among random sets.",
        unit="logits",
        direction="none",
        shown=False,
        chance=0.0,
    ),
)
SCORES = ["tcav.effect", "tcav.score", "tcav.magnitude"]


def scores_table(vectors: Vectors, scores: Scores, site: str) -> pd.DataFrame:
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


def corrected(table: pd.DataFrame) -> pd.DataFrame:
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


def metric_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
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


def figure(scores: pd.DataFrame) -> Any:
    # The pairs that stand farthest outside their null, one a concept, over the sites.
    best = scores.assign(size=scores["effect"].abs()).sort_values("size", ascending=False).drop_duplicates("concept").head(6)
    pairs = set(zip(best["concept"], best["class"], strict=True))
    shown = scores[[pair in pairs for pair in zip(scores["concept"], scores["class"], strict=True)]]
    shown = shown.assign(value=shown["effect"], series=shown["concept"] + " → " + shown["class"])
    shown = shown[["site", "value", "series"]]
    return site_lines(shown, "TCAV effect of the strongest pairs by site", "deviations of the random sets", null=0.0)
