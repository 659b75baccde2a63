"""What an estimator of information answers, and how one is compared with its null."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import ConfigError, DataError
from workbench.statistics.features import constant_features

Kind = Literal["lower bound", "upper bound", "point"]


@dataclass(frozen=True)
class Estimate:
    """One estimate of mutual information.

    Negative values are kept: an estimator that is right on average is below 0 half of the time when nothing
    is shared, and clipping would hide that. Compare ``value`` with ``floor_high``.
    """

    value: float
    """In ``unit``."""
    kind: Kind
    n: int
    """Rows used."""
    standard_error: float = float("nan")
    """Of the value over samples of rows, in ``unit``; it knows nothing of bias. nan where unknown."""
    k: int | None = None
    """Neighbours, for the estimators that count them."""
    floor: float = float("nan")
    """Mean value under permuted labels; nan where it was not asked for."""
    floor_high: float = float("nan")
    """95th percentile under permuted labels."""
    note: str = ""
    """What a reader must know: dropped features, ties, boundaries."""
    unit: str = "bits"

    @property
    def above_floor(self) -> bool:
        """Whether the value exceeds 95 % of its values under permuted labels (False without a floor)."""
        return self.value > self.floor_high


def with_floor(
    estimator: Callable[[Any, Any], Estimate],
    X: Shaped[np.ndarray, "n d"],
    y: Shaped[np.ndarray, "n ..."],
    permutations: int = 20,
    seed: int = 0,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Estimate, and again under permuted labels: the floor that estimators with bias stand on.

    With ``clusters`` whole examples are permuted, since tokens of one example are alike. Where each example
    has one label, the labels move among examples. Where labels vary inside examples, examples are put in a
    random order and their labels are dealt out to the rows in that order, so that runs of labels survive.

    Args:
        estimator: takes (X, y) and returns an Estimate; use ``functools.partial`` to fix its options. One
            that fits a model must fit it inside, or the floor is that of a model which has seen the true
            labels.
        X: ``[n, d]``.
        y: ``[n]`` or ``[n, m]``.
        permutations: how many; 20 give a mean and a rough 95th percentile.
        seed: of the permutations.
        clusters: ``[n]`` the example of each row, or None.

    Raises:
        ConfigError: for fewer than two permutations.
        DataError: for lengths that do not fit, or fewer than two clusters.
    """
    if permutations < 2:
        raise ConfigError(f"A floor needs at least 2 permutations, not {permutations}: pass 20, for example.")
    X, y = np.asarray(X), np.asarray(y)
    if len(X) != len(y):
        raise DataError(f"X has {len(X)} rows and y has {len(y)}: give one label a row.")
    found = estimator(X, y)
    rng = np.random.default_rng(seed)
    deal = _dealer(y, clusters)
    values = [estimator(X, y[deal(rng)]).value for _ in range(permutations)]
    return replace(found, floor=float(np.mean(values)), floor_high=float(np.quantile(values, 0.95)))


def _dealer(
    y: Shaped[np.ndarray, "n ..."], clusters: Shaped[np.ndarray, " n"] | None
) -> Callable[[np.random.Generator], Int[np.ndarray, " n"]]:
    """A function that draws, for each row, the row whose label it gets."""
    if clusters is None:
        return lambda rng: rng.permutation(len(y))
    clusters = np.asarray(clusters)
    if clusters.shape != (len(y),):
        raise DataError(f"There are {len(y)} rows and clusters {clusters.shape}: give one a row.")
    _, first, ids = np.unique(clusters, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise DataError("All rows are of one cluster: permuting examples needs at least two of them.")
    if bool((y == y[first][ids]).all()):
        return lambda rng: first[rng.permutation(len(first))][ids]
    rows = np.argsort(ids, kind="stable")

    def deal(rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        dealt = np.empty(len(rows), dtype=np.int64)
        dealt[rows] = np.argsort(rng.permutation(len(first))[ids], kind="stable")
        return dealt

    return deal


def from_terms(
    terms: Float[np.ndarray, " n"],
    kind: Kind,
    *,
    clusters: Shaped[np.ndarray, " n"] | None = None,
    shift: float = 0.0,
    k: int | None = None,
    note: str = "",
) -> Estimate:
    """Build an estimate from per-row terms in nats: their mean plus ``shift``, with the error of that mean.

    With clusters the error is that of independent examples (a sandwich of their sums).
    """
    n = len(terms)
    mean = float(terms.mean())
    sums = terms - mean
    if clusters is not None:
        clusters = np.asarray(clusters)
        if clusters.shape != (n,):
            raise DataError(f"There are {n} rows and clusters {clusters.shape}: give one a row.")
        _, ids = np.unique(clusters, return_inverse=True)
        sums = np.bincount(ids, weights=sums).astype(np.float64)
    groups = len(sums)
    error = np.sqrt((sums**2).sum() * groups / (groups - 1)) / n if groups > 1 else float("nan")
    return Estimate(
        value=float((mean + shift) / np.log(2)),
        kind=kind,
        n=n,
        standard_error=float(error / np.log(2)),
        k=k,
        note=note,
    )


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
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    varies = ~constant_features(deviation, mean, X.dtype if X.dtype.kind == "f" else np.float64)
    dropped = int((~varies).sum())
    note = f"{dropped} constant feature{'s' if dropped > 1 else ''} of {what} dropped" if dropped else ""
    return (X[:, varies] - mean[varies]) / deviation[varies], note


def joined(*notes: str) -> str:
    """Join the notes that say something."""
    return "; ".join(note for note in notes if note)
