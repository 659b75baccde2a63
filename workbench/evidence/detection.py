"""Detection of labels: every concept of a set against every label in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.activations.labels import is_span
from workbench.concepts import ConceptSet
from workbench.evidence.held_out import HeldOut, codes
from workbench.evidence.informs import information
from workbench.progress import Progress, shares, silent
from workbench.statistics.auroc import auroc_matrix, average_precision, clustered_auroc
from workbench.statistics.permutation import permuted_by_cluster
from workbench.statistics.rows import Null, row

MIN_POSITIVES = 8
FAMILY = "every concept of the run for its label"
CONSTANT = "no interval: the concept has the same value on all of these rows"


@dataclass(frozen=True)
class Detection:
    """What the detection pass leaves for the others.

    Attributes:
        choice: For each concept the label it stands trial for; empty where no label can be tried.
        matrix: ``number, label, validation, test``: AUROC of every concept for every label.
        rows: Evidence rows, with the concept's place in the set in ``place``.
        codes: The concepts' codes on the test rows, ``[n, c]``.
    """

    choice: list[str]
    matrix: pd.DataFrame
    rows: list[dict[str, object]]
    codes: Float[np.ndarray, "n c"]

    def of_family(self, name: str) -> list[dict[str, Any]]:
        """The rows of a family."""
        return [row for row in self.rows if str(row["metric"]).startswith(f"{name}.")]


def all_areas(codes_nc: Float[np.ndarray, "n c"], data: HeldOut) -> Float[np.ndarray, "c l"]:
    """AUROC of every concept for every label: span labels on rows, example labels on examples' means."""
    parts = [auroc_matrix(codes_nc, data.tokens.values)] if data.tokens.names else []
    if data.wholes.names:
        parts.append(auroc_matrix(data.means(codes_nc), data.wholes.values))
    areas = np.concatenate(parts, axis=1) if parts else np.empty((codes_nc.shape[1], 0))
    return np.where(_enough(data)[None, :], areas, np.nan)


def _enough(data: HeldOut) -> np.ndarray:
    values = [v for v in (data.tokens.values, data.wholes.values) if v.shape[1]]
    counts = [np.minimum((v == 1).sum(0), (v == 0).sum(0)) for v in values]
    return np.concatenate(counts) >= MIN_POSITIVES if counts else np.empty(0, dtype=bool)


def detect(concepts: ConceptSet, validation: HeldOut, test: HeldOut, seed: int, progress: Progress = silent) -> Detection:
    """Try every concept against every label.

    The label of a supervised concept is its own. For a discovered one it is the label with the largest AUROC on the
    validation split; the test split, which had no part in the choice, gives the value.
    """
    # Reading the codes and choosing labels takes about a tenth of the time.
    choosing, testing = shares(progress, [1, 9], f"detection at {concepts.site}")
    choosing(0, 1, "choosing labels")
    test_codes = codes(concepts, test)
    labels = test.labels
    on_validation = all_areas(codes(concepts, validation), validation)
    on_test = all_areas(test_codes, test)
    on_validation = np.where(np.isnan(on_test), np.nan, on_validation)
    choice = []
    for place, own in enumerate(concepts.table["label"]):
        if own:
            choice.append(own if own in labels and not np.isnan(on_test[place, labels.index(own)]) else "")
        elif labels and np.isfinite(on_validation[place]).any():
            choice.append(labels[int(np.nanargmax(on_validation[place]))])
        else:
            choice.append("")
    count = len(concepts)
    matrix = pd.DataFrame(
        {
            "place": np.repeat(np.arange(count), len(labels)),
            "label": np.tile(np.array(labels, dtype=object), count),
            "validation": on_validation.ravel(),
            "test": on_test.ravel(),
        }
    )
    pairs = {(p, label) for p, label in enumerate(choice) if label}
    # For every label the discovered concept that looked best on validation gets a row too: it is what a person asks for.
    best = matrix.dropna().sort_values("validation").groupby("label").tail(1)
    discovered = concepts.table["label"].eq("").to_numpy()
    pairs |= {(p, label) for p, label in zip(best["place"], best["label"], strict=True) if discovered[p]}
    rows: list[dict[str, object]] = []
    kinds = [(spans, sorted((p, label) for p, label in pairs if is_span(label) == spans)) for spans in (True, False)]
    for part, (spans, chosen) in zip(shares(testing, [len(chosen) for _, chosen in kinds]), kinds, strict=True):
        if chosen:
            rows += _rows(chosen, test_codes, test, spans, seed, part)
    for place, label in enumerate(choice):
        if not label:
            reason = f"fewer than {MIN_POSITIVES} held-out positives or negatives of its label" if labels else "no labels"
            rows.append({"place": place, "metric": "detects.auroc", "label": "", "status": "failed", "error": reason})
    return Detection(choice, matrix, rows, test_codes)


def _rows(
    pairs: list[tuple[int, str]], codes_nc: Float[np.ndarray, "n c"], data: HeldOut, spans: bool, seed: int, progress: Progress
) -> list[dict[str, object]]:
    places = [p for p, _ in pairs]
    targets = data.tokens if spans else data.wholes
    y = targets.values[:, [targets.names.index(label) for _, label in pairs]]
    z = codes_nc[:, places] if spans else data.means(codes_nc)[:, places]
    clusters = data.clusters if spans else data.documents
    # These three take about as long as each other.
    progress(0, 3, "areas")
    area = clustered_auroc(z, y, clusters)
    progress(1, 3, "permutations")
    permuted = permuted_by_cluster(z, y, clusters, seed)
    low, high = area.interval(null_error=permuted.spread)
    precision, share, known = average_precision(z, y), np.nanmean(y, axis=0), (~np.isnan(y)).sum(0)
    progress(2, 3, "information")
    bits = information(z, y, clusters, seed)
    progress(3, 3, "information")
    rows: list[dict[str, object]] = []
    for i, (place, label) in enumerate(pairs):
        few = area.counts.reason(i) or ("" if np.ptp(z[~np.isnan(y[:, i]), i]) > 0 else CONSTANT)
        common: dict[str, Any] = {
            "place": place, "label": label, "n": int(known[i]), "clusters": int(area.counts.every[i]),
            "clusters_positive": area.counts.fewer(i), "note": few,
        }  # fmt: skip
        biased = few and f"no telling how much of it is bias: {few.removeprefix('no interval and no p value: ')}"
        null = Null(permuted.mean[i], permuted.high[i], permuted.p[i], FAMILY)
        rows += [
            row("detects.auroc", area.value[i], null, low=low[i], high=high[i], **common | {"note": few or permuted.remark(i)}),
            row("detects.ap", precision[i], Null(share[i]), **common),
            row(
                "informs.bits",
                bits.value[i],
                Null(0.0, bits.null_high[i]),
                low=bits.low[i],
                high=bits.high[i],
                **common | {"note": biased},
            ),
        ]
    return rows
