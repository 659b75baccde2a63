"""Logistic probes: one label or hundreds, in one solve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from probes._labels import Labels, by_known_rows, read_labels
from workbench.errors import ConfigError, DataError

_BLOCK_CELLS = 1 << 24
"""Rows times columns solved together: about 64 MiB for each of the six matrices of that shape."""


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """L2-regularised logistic regression of one or many 0/1 labels on activations.

    All columns are solved together, so 90 labels cost little more than two. Features are standardised
    inside, on the rows that carry a label, and the scale is folded back: ``coef_`` and ``intercept_`` act
    on raw activations. The penalty acts on the standardised weights, with scikit-learn's meaning of C: sum
    of losses + |w|^2 / (2 C).

    Args:
        C: inverse strength of the penalty, > 0.
        max_iter: largest number of L-BFGS steps.
        tol: a column is done when no entry of the gradient of its mean loss is above this, in standardised
            units and for classes of one size; rarer classes are held to proportionally less.
        balanced: weigh rows so that the two classes of a column count the same.
        random_state: accepted so that it can be set on every step of a pipeline; the solve is deterministic
            and ignores it.

    Attributes:
        coef_: float64 ``[c, d]`` (``[1, d]`` for one label).
        intercept_: float64 ``[c]``.
        classes_: the two values of the label; ``[0, 1]`` for several.
        n_iter_: int ``[c]`` steps taken.
        converged_: bool ``[c]``.
        n_features_in_: d.

    Source: Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes", for
    the idea; the objective is that of ``sklearn.linear_model.LogisticRegression``.
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        max_iter: int = 200,
        tol: float = 1e-5,
        balanced: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.balanced = balanced
        self.random_state = random_state

    def fit(
        self, X: Any, Y: Any, *, names: Sequence[str] | None = None, callback: Callable[[float], None] = lambda _: None
    ) -> Self:
        """Fit every label.

        Args:
            X: ``[n, d]`` activations, array or tensor.
            Y: ``[n]`` of two values, or ``[n, c]`` of 1, 0 and nan; nan keeps the row out of that column's
            training set.
            names: of the labels, for error messages; a DataFrame's column names are taken.
            callback: called with the share of the work that seems to be done, up to 1.

        Raises:
            DataError: for unusable X or Y, or a column with one class, which the text names.
            ConfigError: for C, max_iter or tol out of range.
        """
        self._check_options()
        X = _matrix(self, X, reset=True)
        if Y is None:
            raise DataError("requires y to be passed, but the target y is None: pass labels [n] or [n, c].")
        labels = read_labels(Y, names)
        _check_classes(labels, len(X))
        known = ~np.isnan(labels.codes)
        used = known.any(axis=1)
        self.classes_ = labels.classes
        self._single = labels.single
        self._solve(X[used], labels.codes[used], known[used], callback)
        if not self.converged_.all():
            slow = np.flatnonzero(~self.converged_)
            warnings.warn(
                f"{len(slow)} of {len(self.converged_)} labels did not reach tol={self.tol} (the first: label"
                f" {labels.describe(int(slow[0]))}): raise max_iter above {self.max_iter}, or lower C.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "n c"] | Float[np.ndarray, " n"]:
        """Log-odds of each label in nats: ``[n, c]``, or ``[n]`` when fitted with one-dimensional Y."""
        check_is_fitted(self)
        X = _matrix(self, X, reset=False)
        odds = X @ self.coef_.T.astype(X.dtype) + self.intercept_.astype(X.dtype)
        return odds[:, 0] if self._single else odds

    def predict(self, X: Any) -> Shaped[np.ndarray, "n c"] | Shaped[np.ndarray, " n"]:
        """Predict the more probable class: values of ``classes_``, shaped as :meth:`decision_function`."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(int)]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"] | Float[np.ndarray, "n 2"]:
        """Probability of 1 for each label ``[n, c]``; for one-dimensional Y the two classes ``[n, 2]``."""
        odds = self.decision_function(X)
        return np.stack([expit(-odds), expit(odds)], axis=1) if self._single else expit(odds)

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "n c"] | Float[np.ndarray, "n 2"]:
        """Logarithm (nats) of :meth:`predict_proba`, without underflow."""
        odds = self.decision_function(X)
        return np.stack([log_expit(-odds), log_expit(odds)], axis=1) if self._single else log_expit(odds)

    def accuracies(self, X: Any, Y: Any) -> Float[np.ndarray, " c"]:
        """Accuracy of each label on its known rows, ``[c]``; nan for a label that is known nowhere.

        Raises:
            DataError: when Y does not fit X or the fitted labels.
        """
        predicted = np.asarray(self.predict(X)).reshape(-1, len(self.intercept_))
        Y = Y.detach().cpu().numpy() if hasattr(Y, "detach") else np.asarray(Y)
        truth = Y.reshape(len(Y), -1)
        if truth.shape != predicted.shape:
            raise DataError(f"Labels {truth.shape} do not fit predictions {predicted.shape}: pass [n, c].")
        known = ~np.isnan(truth) if truth.dtype.kind == "f" else np.ones(truth.shape, dtype=bool)
        with np.errstate(invalid="ignore"):
            return ((predicted == truth) & known).sum(axis=0) / known.sum(axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean accuracy over labels, each on its known rows.

        For several labels this is not scikit-learn's subset accuracy, which no row with 90 labels would
        reach.

        Raises:
            ConfigError: for sample weights with several labels.
        """
        if sample_weight is None:
            return float(np.nanmean(self.accuracies(X, y)))
        if not self._single:
            raise ConfigError("Sample weights score one label only: leave them out for several labels.")
        return float(np.average(self.predict(X) == np.asarray(y), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags

    def _check_options(self) -> None:
        if not self.C > 0:
            raise ConfigError(f"C is {self.C}: it must be positive, for example 1.0.")
        if not self.max_iter >= 1:
            raise ConfigError(f"max_iter is {self.max_iter}: a fit needs at least one step.")
        if not self.tol > 0:
            raise ConfigError(f"tol is {self.tol}: it must be positive, for example 1e-5.")

    def _solve(
        self,
        X: Float[np.ndarray, "n d"],
        codes: Float[np.ndarray, "n c"],
        known: Bool[np.ndarray, "n c"],
        callback: Callable[[float], None],
    ) -> None:
        import torch

        from probes._solver import Basis, solve

        basis = Basis.of(torch.from_numpy(np.ascontiguousarray(X)))
        weights = torch.empty(basis.rows.shape[1], codes.shape[1])
        steps = torch.empty(codes.shape[1], dtype=torch.int64)
        converged = torch.empty(codes.shape[1], dtype=torch.bool)
        together = list(_together(known))
        # Turning the rows costs about as much as solving a third as many columns as there are features.
        cells = X.size // 3
        whole = cells + sum(len(rows) * len(columns) for rows, columns in together)
        callback(cells / whole)
        for rows, columns in together:
            size, before = len(rows) * len(columns), cells
            mass = _row_weights(codes[np.ix_(rows, columns)], known[np.ix_(rows, columns)], self.balanced)
            target = np.nan_to_num(codes[np.ix_(rows, columns)])
            part = basis if len(rows) == len(X) else basis.among(rows)
            found = solve(
                part, torch.from_numpy(target), torch.from_numpy(mass), self.C, self.max_iter, self.tol,
                partial(_callback_part, callback, before / whole, size / whole),
            )  # fmt: skip
            cells += size
            weights[:, columns], steps[columns], converged[columns] = found.weights, found.steps, found.converged
        coef, intercept = basis.unfold(weights)
        self.coef_ = coef.numpy()
        self.intercept_ = intercept.numpy()
        self.n_iter_ = steps.numpy()
        self.converged_ = converged.numpy()


def _together(known: Bool[np.ndarray, "n c"]) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]]:
    """Yield (rows, columns) to solve together.

    Several columns that know the same few of the rows are solved on these alone; all others on every row, where a row that a
    column does not know has no weight in it.
    """
    every: list[int] = []
    for rows, columns in by_known_rows(known):
        few = len(columns) > 1 and 2 * len(rows) < len(known)
        every += [] if few else columns.tolist()
        if few:
            yield from _blocks(rows, columns)
    yield from _blocks(np.arange(len(known)), np.array(sorted(every), dtype=np.int64))


def _blocks(
    rows: Int[np.ndarray, " k"], columns: Int[np.ndarray, " m"]
) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " b"]]]:
    step = max(1, _BLOCK_CELLS // len(rows))
    for start in range(0, len(columns), step):
        yield rows, columns[start : start + step]


def _row_weights(codes: Float[np.ndarray, "n c"], known: Bool[np.ndarray, "n c"], balanced: bool) -> Float[np.ndarray, "n c"]:
    if not balanced:
        return known.astype(np.float32)
    positive = (codes == 1).sum(axis=0)
    total = known.sum(axis=0)
    weights = np.where(codes == 1, total / (2 * positive), total / (2 * (total - positive)))
    return np.where(known, weights, 0).astype(np.float32)


def _check_classes(labels: Labels, n_rows: int) -> None:
    if len(labels.codes) != n_rows:
        raise DataError(
            f"X has {n_rows} rows and Y has {len(labels.codes)} (inconsistent numbers of samples):"
            " give one row of labels for each row of X."
        )
    labels.require_both_classes()


def _matrix(probe: LogisticProbe, X: Any, reset: bool) -> Float[np.ndarray, "n d"]:
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    try:
        return validate_data(probe, X, reset=reset, dtype=[np.float64, np.float32])
    except ValueError as error:
        # The same text, as an error of ours: the command line prints it without a trace.
        raise DataError(str(error)) from error


def _callback_part(callback: Callable[[float], None], before: float, size: float, share: float) -> None:
    callback(before + size * share)
