"""What an estimator of information answers, and what estimators read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import DataError
from workbench.statistics.features import constant_features
from workbench.statistics.intervals import mean_error, reach

Kind = Literal["lower bound", "upper bound", "point"]


@dataclass(frozen=True)
class Estimate:
    """One estimate of mutual information.

    Negative values are kept: an estimator that is right on average is below 0 half of the time when nothing is shared, and
    clipping would hide that. Compare ``value`` with ``null_high``, or look at ``p``. ``standard_error`` is the sampling error
    alone: most estimators have a bias that is larger, so they have no interval, and ``at_half_n`` and ``at_twice_k`` show how
    far they move with the sample and with the neighbours.
    """

    value: float
    """In ``unit``."""
    kind: Kind
    n: int
    """Rows used."""
    standard_error: float = float("nan")
    """Sampling error of the value over samples of clusters, in ``unit``; it knows nothing of bias. nan where unknown."""
    k: int | None = None
    """Neighbours, for the estimators that count them."""
    low: float = float("nan")
    """Lower end of the 95% interval, for estimators whose interval was shown to cover; nan for the others."""
    high: float = float("nan")
    """Upper end of the 95% interval."""
    clusters: int | None = None
    """Independent clusters of the rows (documents), where they were given; the sampling error is made over them."""
    null: float = float("nan")
    """Mean value under permuted labels; nan where it was not asked for."""
    null_high: float = float("nan")
    """Level that 5% of values under permuted labels exceed."""
    p: float = float("nan")
    """p value against permuted labels; nan where it was not asked for, or where there are too few clusters."""
    at_half_n: float = float("nan")
    """The value from half of the clusters (the mean of both halves)."""
    at_twice_k: float = float("nan")
    """The value with twice as many neighbours."""
    note: str = ""
    """What a reader must know: dropped features, ties, boundaries."""
    unit: str = "bits"

    @property
    def above_null(self) -> bool:
        """Whether the value exceeds the level that 5% of values under permuted labels exceed (False without a null)."""
        return self.value > self.null_high

    @property
    def moves(self) -> bool:
        """Whether half of the sample, or twice the neighbours, change the value by more than its sampling error."""
        apart = np.abs(np.array([self.at_half_n, self.at_twice_k]) - self.value)
        return bool((apart > self.standard_error).any())


def from_terms(
    terms: Float[np.ndarray, " n"],
    kind: Kind,
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
    shift: float = 0.0,
    k: int | None = None,
    interval: bool = False,
    note: str = "",
) -> Estimate:
    """Build an estimate from per-row terms in nats: their mean plus ``shift``, with the error of that mean over clusters.

    ``interval`` gives it Student's t interval as well: only for estimators whose error is that of sampling.
    """
    mean, error, worth = mean_error(terms[:, None], clusters)
    value, bits = float((mean[0] + shift) / np.log(2)), float(error[0] / np.log(2))
    count = None if clusters is None else len(np.unique(clusters))
    found = Estimate(value, kind, len(terms), bits, k, clusters=count, note=note)
    half = float(reach(worth - 1)) * bits
    return replace(found, low=value - half, high=value + half) if interval else found


def read_features(X: Any, what: str = "X") -> Float[np.ndarray, "n d"]:
    """Read features as float64 ``[n, d]`` (a vector becomes one column).

    Raises:
        DataError: for another shape, nan or infinity, or fewer than two rows.
    """
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    features = np.asarray(X, dtype=np.float64)
    if features.ndim == 1:
        features = features[:, None]
    if features.ndim != 2 or len(features) < 2:
        raise DataError(f"{what} has the shape {features.shape}: pass [n, d] with at least two rows.")
    if not np.isfinite(features).all():
        raise DataError(f"{what} holds nan or infinity: leave those rows out.")
    return features


def read_classes(y: Any, n: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " q"]]:
    """Read discrete labels as codes 0..q-1 and their counts.

    Raises:
        DataError: for another shape or length, or nan.
    """
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise DataError(f"There are {n} rows and labels of shape {labels.shape}: give one label a row.")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DataError("Labels hold nan: leave rows with unknown labels out.")
    if labels.dtype == object:
        labels = labels.astype(str)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return codes, counts


def standardised(X: Float[np.ndarray, "n d"], what: str = "X") -> tuple[Float[np.ndarray, "n d"], str]:
    """Centre and scale every feature; drop the constant ones, which carry nothing, and say so in the note."""
    mean, std = X.mean(axis=0), X.std(axis=0)
    varies = ~constant_features(std, mean, X.dtype if X.dtype.kind == "f" else np.float64, one_unit=False)
    dropped = int((~varies).sum())
    note = f"{dropped} constant feature{'s' if dropped > 1 else ''} of {what} dropped" if dropped else ""
    return (X[:, varies] - mean[varies]) / std[varies], note


def joined(*notes: str) -> str:
    """Join the notes that say something."""
    return "; ".join(note for note in notes if note)
