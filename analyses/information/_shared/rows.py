"""The numbers of an estimate as rows of metrics, corrected over the labels and sites of a run."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analyses.information._shared.variables import MAX_VALUES, Group, Variable
from workbench.activations.labels import is_span
from workbench.analysis import Metric
from workbench.errors import WorkbenchWarning
from workbench.information.estimate import Estimate
from workbench.information.null import held
from workbench.numbers import counted
from workbench.plots import site_lines
from workbench.statistics.correction import ALPHA, holm, least_p
from workbench.statistics.rows import NoNull, Null, row

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
        chance=0.0,
    ),
    Metric(
        "mi.ksg",
        "Nearest neighbours",
        "Mixed KSG estimate (Ross, 2014) of the information in the first principal coordinates, from neighbours in other"
        " documents; compressing can only lose information, so it may lie below the bound. It has a sampling error by document"
        " and no interval, since its bias may be larger: half of the documents, and twice the neighbours, show how it moves. Null"
        " and p: labels dealt to other documents. Negative values are kept.",
        unit="bits",
        chance=0.0,
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


def most_draws(tests: int, least: int) -> int:
    """Draws with which the smallest p value is what Holm's correction over so many tests needs; at most `MOST_DRAWS`."""
    return max(least, min(MOST_DRAWS, max(999, int(np.ceil(1 / least_p(tests))))))


def foresee(labels: list[str], columns_of_labels: Mapping[str, str], sites: int, by_position: bool) -> None:
    """Warn, before the run is recorded, where no corrected p value can be below .05 with the most permutations there are."""
    columns = Counter(columns_of_labels[name] for name in labels if not is_span(name))
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


def estimate_row(metric: str, found: Estimate, group: Group, variable: Variable, rows: Any = None) -> dict[str, Any]:
    known = np.flatnonzero(variable.y_test >= 0) if rows is None else rows
    counts = held(variable.y_test[known], group.clusters_test[known])
    null = Null(found.null, found.null_high, found.p, "" if np.isnan(found.p) else FAMILY)
    return row(
        metric, found.value, null, n=found.n, low=found.low, high=found.high,
        clusters=counts.clusters, clusters_positive=counts.fewer, standard_error=found.standard_error,
        at_half_n=found.at_half_n, at_twice_k=found.at_twice_k, kind=found.kind, note=found.note,
    )  # fmt: skip


def entropy_row(group: Group, variable: Variable) -> dict[str, Any]:
    known = variable.y_test >= 0
    share = np.bincount(variable.y_test[known]) / known.sum()
    entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
    counts = held(variable.y_test[known], group.clusters_test[known])
    why = NoNull("a property of the labels alone")
    return row("mi.entropy", entropy, why, n=int(known.sum()), clusters=counts.clusters, clusters_positive=counts.fewer)


def figure(metrics: pd.DataFrame) -> Any:
    table = metrics[metrics["metric"].eq("mi.bound")]
    best = table.groupby("label")["value"].max().sort_values(ascending=False).index[:5]
    shown = table[table["label"].isin(best)].assign(series=lambda t: t["label"])
    null = shown.groupby("site", sort=False)["null_high"].max().reset_index(name="value").assign(series="null, 95th percentile")
    return site_lines(pd.concat([shown, null]), "Information about labels by site (classifier bound)", "bits", null=0.0)
