"""The classifier bound of many variables, with its null and p value, in one batched solve."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from analyses.information._shared.variables import Group, Variable
from probes import LogisticProbe
from workbench.information.bias import halves
from workbench.information.bound import classifier_bound, held_out_p
from workbench.information.estimate import Estimate
from workbench.information.null import held
from workbench.progress import Progress, shares, silent
from workbench.statistics.dealing import dealer, whole_deal
from workbench.statistics.nulls import upper

_FIT_S, _P_VALUE_S = 6e-10, 0.4
"""About how long it takes to fit one number of one row to one column of labels, and to find one p value, in seconds."""


@dataclass(frozen=True)
class _Fit:
    """Columns of the batched solve that make one classifier of a variable."""

    variable: Variable
    columns: slice


def classifier_bounds(
    group: Group, permutations: int, draws: int, seed: int, C: float = 0.02, progress: Progress = silent
) -> dict[str, Estimate]:
    """Bounds of all the group's variables, each with its null, its p value, and what half of the training documents give.

    The classifier is one-vs-rest logistic regression with its probabilities normalised: any classifier gives a valid bound, and
    this one is fitted for all values, variables and permutations at once. Two questions are answered by two permutations:

    - The null (``null``, ``null_high``) is what a classifier reads that was fitted where there is nothing to read: to labels
      dealt to other training documents. It stands a little below 0, by how far the classifier fits noise.
    - ``p`` asks whether the held-out labels have anything to do with what this classifier says of the held-out rows: they are
      dealt to other held-out documents, which the classifier, fitted to other documents, knows nothing of.

    Args:
        group: Rows and variables.
        permutations: Classifiers of the null, at least 19.
        draws: Most permutations of held-out labels for a p value.
        seed: Of both.
        C: Inverse strength of the classifiers' penalty.
        progress: Called with ``(done, total, text)``.
    """
    coded, fits = _coded(group, permutations, seed)
    fitting, testing = shares(progress, [coded.size * group.x_train.shape[1] * _FIT_S, len(group.variables) * _P_VALUE_S])
    probe = LogisticProbe(C=C, max_iter=100, tol=1e-3).fit(
        group.x_train, coded, callback=lambda share: fitting(round(1000 * share), 1000, f"fitting {coded.shape[1]:,} classifiers")
    )
    odds = group.x_test @ probe.coef_.T + probe.intercept_
    found = {}
    for number, variable in enumerate(group.variables):
        testing(number, len(group.variables), f"permuting the labels of {variable.name}")
        known = variable.y_test >= 0
        y, clusters = variable.y_test[known], group.clusters_test[known]
        own, half, *permuted = (_log_proba(odds[:, fit.columns][known]) for fit in fits if fit.variable is variable)
        null = np.array([_value(one, y) for one in permuted]) / np.log(2)
        p = float("nan") if held(y, clusters).reason else held_out_p(own, y, clusters, draws, seed)
        found[variable.name] = replace(
            classifier_bound(own, y, clusters),
            p=p,
            null=float(null.mean()) if len(null) else float("nan"),
            null_high=float(upper(null)) if len(null) else float("nan"),
            at_half_n=float(_value(half, y) / np.log(2)),
        )
    return found


def _coded(group: Group, permutations: int, seed: int) -> tuple[Float[np.ndarray, "n c"], list[_Fit]]:
    """The columns to fit: of each variable its own labels, those of half of the documents, and the permuted ones."""
    rng = np.random.default_rng(seed)
    half = halves(group.clusters_train, len(group.x_train), seed)[0]
    columns: list[Float[np.ndarray, " n"]] = []
    fits: list[_Fit] = []
    for variable in group.variables:
        y = variable.y_train
        known = np.flatnonzero(y >= 0)
        labels = [y, np.where(half, y, -1) if _whole(y, half) else y]
        several = len(np.unique(group.clusters_train[known])) > 1
        deal = dealer(y[known], group.clusters_train[known] if several else None)
        for _ in range(permutations if several else 0):
            if (whole := whole_deal(y[known], deal, rng)) is not None:
                dealt = np.full(len(y), -1)
                dealt[known] = whole
                labels.append(dealt)
        values = range(1, 2) if variable.count == 2 else range(variable.count)
        for one in labels:
            fits.append(_Fit(variable, slice(len(columns), len(columns) + len(values))))
            columns += [np.where(one < 0, np.nan, (one == value).astype(float)) for value in values]
    return np.stack(columns, axis=1), fits


def _whole(y: Int[np.ndarray, " n"], half: np.ndarray) -> bool:
    """Whether a half of the rows holds every value."""
    return len(np.unique(y[half & (y >= 0)])) == len(np.unique(y[y >= 0]))


def _value(log_proba: Float[np.ndarray, "m q"], y: Int[np.ndarray, " m"]) -> float:
    """The bound in nats, of probabilities that need no check."""
    share = np.bincount(y, minlength=log_proba.shape[1]) / len(y)
    return float(log_proba[np.arange(len(y)), y].mean() - (share * np.log(np.where(share > 0, share, 1))).sum())


def _log_proba(odds: Float[np.ndarray, "m q"]) -> Float[np.ndarray, "m q"]:
    if odds.shape[1] == 1:
        odds = np.concatenate([np.zeros_like(odds), odds], axis=1)
        return odds - np.logaddexp.reduce(odds, axis=1, keepdims=True)
    log_sigmoid = -np.logaddexp(0, -odds)
    return log_sigmoid - np.logaddexp.reduce(log_sigmoid, axis=1, keepdims=True)
