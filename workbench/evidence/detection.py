"""Detection, information and location of labelled concepts: every concept of a set against every label in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import norm

from workbench.activations.labels import is_span
from workbench.concepts import ConceptSet
from workbench.evidence.held_out import HeldOut, codes
from workbench.statistics.auroc import (
    auroc_matrix,
    average_precision,
    clustered_auroc,
    permuted_auroc,
)

SHIFTS = 50
BINS = 8
# Finer towards the top, where a rare label must be told from the rest: one row in a hundred still has a bin of its own.
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.99)
MIN_POSITIVES = 8


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


def detect(concepts: ConceptSet, validation: HeldOut, test: HeldOut, seed: int) -> Detection:
    """Try every concept against every label.

    The label of a supervised concept is its own. For a discovered one it is the label with the largest AUROC on the
    validation split; the test split, which had no part in the choice, gives the value.
    """
    test_codes = codes(concepts, test.read(concepts.site))
    labels = test.labels
    on_validation = all_areas(codes(concepts, validation.read(concepts.site)), validation)
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
    for spans in (True, False):
        chosen = sorted((p, label) for p, label in pairs if is_span(label) == spans)
        if chosen:
            rows += _rows(chosen, test_codes, test, spans, seed)
    for place, label in enumerate(choice):
        if not label:
            reason = f"fewer than {MIN_POSITIVES} held-out positives or negatives of its label" if labels else "no labels"
            rows.append({"place": place, "metric": "detects.auroc", "label": "", "status": "failed", "error": reason})
    return Detection(choice, matrix, rows, test_codes)


def _rows(
    pairs: list[tuple[int, str]], codes_nc: Float[np.ndarray, "n c"], data: HeldOut, spans: bool, seed: int
) -> list[dict[str, object]]:
    places = [p for p, _ in pairs]
    targets = data.tokens if spans else data.wholes
    y = targets.values[:, [targets.names.index(label) for _, label in pairs]]
    z = codes_nc[:, places] if spans else data.means(codes_nc)[:, places]
    clusters = data.clusters if spans else data.documents
    area = clustered_auroc(z, y, clusters)
    value, (low, high) = area.value, area.interval()
    null = permuted_auroc(z, y, SHIFTS, seed, how="shift" if spans else "rows", paired=True)
    centre, spread = null.mean(0), null.std(0) + 1e-9
    p = norm.sf((value - centre) / spread)
    precision = average_precision(z, y)
    share = np.nanmean(y, axis=0)
    known = (~np.isnan(y)).sum(0)
    bits = information(z, y, data.segment if spans else np.arange(len(y)), seed, shift=spans)
    rows: list[dict[str, object]] = []
    for i, (place, label) in enumerate(pairs):
        common = {"place": place, "label": label, "status": "ok", "n": int(known[i])}
        null_high = float(np.quantile(null[:, i], 0.95))
        rows.append(
            common
            | {"metric": "detects.auroc", "value": value[i], "low": low[i], "high": high[i], "p": p[i]}
            | {"null": centre[i], "null_high": null_high}
        )
        rows.append(common | {"metric": "detects.ap", "value": precision[i], "null": share[i], "n": int(known[i])})
        rows.append(common | {"metric": "informs.bits"} | {k: v[i] for k, v in bits.items()})
    return rows


def information(
    z: Float[np.ndarray, "n c"],
    y: Float[np.ndarray, "n c"],
    clusters: Int[np.ndarray, "n"],
    seed: int,
    shift: bool,
    shifts: int = 20,
) -> dict[str, np.ndarray]:
    """Mutual information in bits of concept j, cut into bins, with label j.

    Zero codes of a sparse concept form a bin of their own and the other values are cut at equal counts; a dense concept is cut
    at fixed quantiles, finer towards the top. The plug-in estimate is
    biased upwards by about ``(bins - 1) / (2 n ln 2)``; the shifted null has the same bias and stands beside it. The interval is
    from the variance of the clusters' contributions.

    Returns:
        ``value, low, high, null, null_high``, each ``[c]``.
    """
    rng = np.random.default_rng(seed)
    n = len(z)
    offsets = [int(rng.integers(1, max(n, 2))) for _ in range(shifts)]
    out = {k: np.full(z.shape[1], np.nan) for k in ("value", "low", "high", "null", "null_high")}
    for j in range(z.shape[1]):
        known = ~np.isnan(y[:, j])
        bins, target = _bins(z[known, j]), (y[known, j] == 1).astype(np.int64)
        value, contributions = _bits(bins, target)
        _, owner = np.unique(clusters[known], return_inverse=True)
        sums = np.bincount(owner, weights=contributions - value)
        error = np.sqrt((sums**2).sum()) / max(len(target), 1)
        null = [_bits(bins, np.roll(target, offset % len(target)) if shift else rng.permutation(target))[0] for offset in offsets]
        out["value"][j], out["null"][j], out["null_high"][j] = value, np.mean(null), np.quantile(null, 0.95)
        out["low"][j], out["high"][j] = max(0.0, value - 1.96 * error), value + 1.96 * error
    return out


def _bins(z: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    zero = z == 0
    if zero.mean() < 0.05:
        return np.searchsorted(np.unique(np.quantile(z, QUANTILES)), z, side="right")
    bins = np.zeros(len(z), dtype=np.int64)
    present = z[~zero]
    if len(present):
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS)[1:-1]))
        bins[~zero] = 1 + np.searchsorted(edges, present, side="right")
    return bins


def _bits(bins: Int[np.ndarray, "n"], target: Int[np.ndarray, "n"]) -> tuple[float, Float[np.ndarray, "n"]]:
    table = np.bincount(bins * 2 + target, minlength=2 * (int(bins.max()) + 1)).reshape(-1, 2) / len(bins)
    outer = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        pointwise = np.where(table > 0, np.log2(table / outer), 0.0)
    return float((table * pointwise).sum()), pointwise[bins, target]


def locate(concepts_count: int, codes_nc: Float[np.ndarray, "n c"], choice: list[str], data: HeldOut) -> list[dict[str, object]]:
    """Whether concepts peak inside the span of the label they stand trial for, in examples that hold such a span.

    The null is exact: a position drawn at random lies inside with the span's share of positions.
    """
    rows: list[dict[str, object]] = []
    starts = np.searchsorted(data.segment, np.arange(len(data.examples)))
    for label in sorted(set(choice)):
        if not is_span(label):
            continue
        places = [p for p in range(concepts_count) if choice[p] == label]
        inside = data.tokens.values[:, data.tokens.names.index(label)] == 1
        holds = np.add.reduceat(inside.astype(np.int64), starts) > 0
        use = holds[data.segment]
        z, within = codes_nc[use][:, places], inside[use]
        _, segment = np.unique(data.segment[use], return_inverse=True)
        rows += _location_rows(places, label, z, within, segment)
    return rows


def _location_rows(
    places: list[int],
    label: str,
    z: Float[np.ndarray, "n c"],
    within: np.ndarray,
    segment: Int[np.ndarray, "n"],
) -> list[dict[str, object]]:
    starts = np.searchsorted(segment, np.arange(segment.max() + 1))
    peak = np.maximum.reduceat(z, starts, axis=0)
    at_peak = z >= peak[segment]
    # Where a concept is flat over an example (a latent that does not fire) every position is its peak: it scores the share.
    hit = np.add.reduceat(at_peak & within[:, None], starts, axis=0) / np.add.reduceat(at_peak, starts, axis=0)
    lengths = np.diff(np.append(starts, len(segment)))
    share = np.add.reduceat(within.astype(float), starts) / lengths
    positive = np.maximum(z, 0)
    total = np.add.reduceat(positive, starts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = np.add.reduceat(positive * within[:, None], starts, axis=0) / total
    rows: list[dict[str, object]] = []
    e = len(starts)
    for i, place in enumerate(places):
        common = {"place": place, "label": label, "status": "ok"}
        for metric, values in (("locates.pointing", hit[:, i]), ("locates.overlap", overlap[:, i])):
            found = values[np.isfinite(values)]
            if len(found) < 2:
                reason = "it is not present in two held-out examples that hold the span"
                rows.append({**common, "metric": metric, "status": "failed", "error": reason})
                continue
            mean, error = found.mean(), found.std(ddof=1) / np.sqrt(len(found))
            null = share[np.isfinite(values)].mean()
            rows.append(
                common
                | {
                    "metric": metric,
                    "value": mean,
                    "n": len(found),
                    "null": null,
                    "null_high": null + 1.645 * _floor_error(share, e),
                }
                | {"low": max(0.0, mean - 1.96 * error), "high": min(1.0, mean + 1.96 * error)}
            )
    return rows


def _floor_error(share: Float[np.ndarray, "e"], count: int) -> float:
    # The sum of independent coin tosses, one an example, each with its own share.
    return float(np.sqrt((share * (1 - share)).sum()) / count)


def adjust(rows: list[dict[str, object]], at_least: int = 0) -> None:
    """Holm's correction of the p values, over all the concepts that stood trial together; in place.

    ``at_least`` is how many tests to correct for when more concepts could have been tried: looking again at a few of a run's
    concepts must not make them look surer than they were among all.
    """
    tried = [row for row in rows if row.get("p") is not None]
    tried.sort(key=lambda row: float(row["p"]))  # type: ignore[arg-type]
    largest = 0.0
    for i, row in enumerate(tried):
        largest = max(largest, min(1.0, float(row["p"]) * (max(len(tried), at_least) - i)))  # type: ignore[arg-type]
        row["p"] = largest
