"""Directions of labels in activation space, by any of the usual estimators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from probes._labels import Labels, read_labels
from probes.logistic import LogisticProbe
from workbench.errors import ConfigError, DataError, UnknownNameError
from workbench.statistics.features import feature_scales

Method = Literal["logistic", "ridge", "mean_difference", "pattern", "svm"]


@dataclass(frozen=True)
class Directions:
    """One direction a label, on raw activations: ``x @ weights.T + intercepts`` is positive for the label."""

    weights: Float[np.ndarray, "c d"]
    intercepts: Float[np.ndarray, " c"]
    method: str
    names: tuple[str, ...] = ()

    def scores(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Decision values ``[n, c]`` in the estimator's own unit (log-odds in nats for ``logistic``)."""
        return np.asarray(X) @ self.weights.T + self.intercepts

    def unit(self) -> Float[np.ndarray, "c d"]:
        """Directions of length 1; a zero direction stays zero."""
        length = np.linalg.norm(self.weights, axis=1, keepdims=True)
        return self.weights / np.where(length > 0, length, 1)


def estimate_directions(
    X: Any,
    Y: Any,
    method: Method = "logistic",
    *,
    C: float = 1.0,
    alpha: float = 1.0,
    balanced: bool = False,
    max_iter: int = 200,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Directions:
    """Estimate the direction of every label.

    ``logistic``, ``ridge`` and ``svm`` are filters: they find what tells the classes apart and so turn away
    from noise that the classes share. ``mean_difference`` and ``pattern`` find how the activations change
    with the label, which is the direction to steer along. For 0/1 labels cov(x, y) / var(y) is the
    difference of the means: the two differ in that ``pattern`` has length 1.

    Args:
        X: ``[n, d]`` activations.
        Y: ``[n]`` or ``[n, c]`` of 1, 0 and nan (unknown: not in that label's training set).
        method: which estimator.
        C: for ``logistic`` and ``svm``, the inverse penalty on standardised features.
        alpha: for ``ridge``, the penalty on standardised features, with scikit-learn's meaning.
        balanced: for ``logistic`` and ``svm``, weigh the two classes alike.
        max_iter: for ``logistic`` and ``svm`` (which takes 50 times as many of its cheaper steps).
        seed: for ``svm``, whose solver draws rows at random.
        names: of the labels.

    Returns:
        Directions on raw activations, float64. The intercept of ``mean_difference`` and ``pattern`` puts
        the threshold half-way between the class means.

    Raises:
        UnknownNameError: for an unknown method.
        ConfigError: for an option out of range.
        DataError: for unusable X or Y, or a label with one class, which the text names.

    Source: logistic and svm: Kim et al. (2018), "Quantitative testing with concept activation vectors";
    pattern: Pahde et al. (2022), "Navigating neural space: revisiting concept activation vectors", after
    Haufe et al. (2014).
    """
    if method not in get_args(Method):
        raise UnknownNameError("direction estimator", str(method), get_args(Method))
    labels = read_labels(Y, names)
    if method == "logistic":
        probe = LogisticProbe(C, max_iter=max_iter, balanced=balanced).fit(X, labels.codes, names=labels.names or None)
        return Directions(probe.coef_, probe.intercept_, method, labels.names)
    rows, kept_as = _rows(X, labels)
    if method == "svm":
        return _svm(rows, labels, C, balanced, max_iter, seed, kept_as)
    if not alpha >= 0:
        raise ConfigError(f"alpha is {alpha}: a penalty is 0 or more.")
    weights = np.empty((labels.codes.shape[1], rows.shape[1]))
    intercepts = np.empty(len(weights))
    estimators: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
        "ridge": lambda x, y: _ridge(x, y, alpha, kept_as),
        "mean_difference": _mean_difference,
        "pattern": _pattern,
    }
    for known, columns in labels.by_known_rows():
        codes = labels.codes[np.ix_(known, columns)].astype(np.float64)
        weights[columns], intercepts[columns] = estimators[method](rows[known], codes)
    return Directions(weights, intercepts, method, labels.names)


def _mean_difference(
    X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    centre = X.mean(axis=0)
    # Centred sums: raw ones lose the difference of two large, near equal means.
    shifted = X - centre
    positives = (Y.T @ shifted) / Y.sum(axis=0)[:, None]
    negatives = ((1 - Y).T @ shifted) / (1 - Y).sum(axis=0)[:, None]
    weights = positives - negatives
    middle = centre + (positives + negatives) / 2
    return weights, -(weights * middle).sum(axis=1)


def _pattern(
    X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    # cov(x, y) / var(y) of a 0/1 label is the difference of the class means.
    weights, intercepts = _mean_difference(X, Y)
    length = np.linalg.norm(weights, axis=1)
    length = np.where(length > 0, length, 1)
    return weights / length[:, None], intercepts / length


def _ridge(
    X: Float[np.ndarray, "n d"], Y: Float[np.ndarray, "n c"], alpha: float, kept_as: np.dtype
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    Z, mean, scale = _standardised(X, kept_as)
    target = 2 * Y - 1
    offset = target.mean(axis=0)
    gram = Z.T @ Z / len(Z)
    # The smallest penalty that keeps the system solvable when alpha is 0 and features repeat.
    gram[np.diag_indices_from(gram)] += alpha / len(Z) + 1e-10
    weights = np.linalg.solve(gram, Z.T @ (target - offset) / len(Z)).T * scale
    return weights, offset - weights @ mean


def _svm(
    X: Float[np.ndarray, "n d"], labels: Labels, C: float, balanced: bool, max_iter: int, seed: int, kept_as: np.dtype
) -> Directions:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    if not C > 0:
        raise ConfigError(f"C is {C}: it must be positive, for example 1.0.")
    weights = np.empty((labels.codes.shape[1], X.shape[1]))
    intercepts = np.empty(len(weights))
    slow = 0
    for known, columns in labels.by_known_rows():
        Z, mean, scale = _standardised(X[known], kept_as)
        for column in columns:
            machine = LinearSVC(
                C=C,
                class_weight="balanced" if balanced else None,
                max_iter=50 * max_iter,
                random_state=seed,
                dual="auto",
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                machine.fit(Z, labels.codes[known, column])
            slow += int(machine.n_iter_ >= 50 * max_iter)
            weights[column] = machine.coef_[0] * scale
            intercepts[column] = machine.intercept_[0] - weights[column] @ mean
    if slow:
        warnings.warn(
            f"{slow} of {len(weights)} support vector machines did not converge: raise max_iter or lower C.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return Directions(weights, intercepts, "svm", labels.names)


def _standardised(
    X: Float[np.ndarray, "n d"], kept_as: np.dtype
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return the standardised rows, the mean and the scale (0 for a constant feature)."""
    mean, std = X.mean(axis=0), X.std(axis=0)
    scale = feature_scales(std, mean, kept_as)
    return (X - mean) * scale, mean, scale


def _rows(X: Any, labels: Labels) -> tuple[Float[np.ndarray, "n d"], np.dtype]:
    """The rows in float64, and the type that they were given in."""
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    given = np.asarray(X)
    rows = given.astype(np.float64)
    if rows.ndim != 2 or len(rows) != len(labels.codes):
        raise DataError(f"X {rows.shape} and Y {labels.codes.shape} do not fit: pass [n, d] and [n, c].")
    if not np.isfinite(rows).all():
        raise DataError("X holds nan or infinity: leave those rows out.")
    labels.require_both_classes()
    return rows, given.dtype if given.dtype.kind == "f" else rows.dtype
