"""The classifier bound of many variables, with its floor, in one batched solve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from analyses.information.estimate import Estimate
from analyses.information.estimators import classifier_bound
from analyses.information.variables import Group, Variable
from probes import LogisticProbe


def classifier_bounds(group: Group, permutations: int, seed: int, C: float = 0.02) -> dict[str, Estimate]:
    """Bounds of all the group's variables; the floor's classifiers are fitted to labels permuted among examples.

    The classifier is one-vs-rest logistic regression with its probabilities normalised: any classifier gives a valid bound, and
    this one is fitted for all values, variables and permutations at once.
    """
    rng = np.random.default_rng(seed)
    turns = [np.arange(len(group.x_train)), *(_deal(group.clusters_train, rng) for _ in range(permutations))]
    columns: list[Float[np.ndarray, "n"]] = []
    places: list[tuple[str, int, range]] = []
    for variable in group.variables:
        values = range(1, 2) if variable.count == 2 else range(variable.count)
        for number, turn in enumerate(turns):
            y = variable.y_train[turn]
            coded = [np.where(y < 0, np.nan, (y == value).astype(float)) for value in values]
            places.append((variable.name, number, range(len(columns), len(columns) + len(coded))))
            columns += coded
    probe = LogisticProbe(C=C, max_iter=100, tol=1e-3).fit(group.x_train, np.stack(columns, axis=1))
    odds = group.x_test @ probe.coef_.T + probe.intercept_
    by_name = {variable.name: variable for variable in group.variables}
    found: dict[str, list[Estimate]] = {name: [] for name in by_name}
    for name, _, place in places:
        found[name].append(_bound(odds[:, list(place)], by_name[name], group.clusters_test))
    return {
        name: replace(
            estimates[0],
            floor=float(np.mean([e.value for e in estimates[1:]])),
            floor_high=float(np.quantile([e.value for e in estimates[1:]], 0.95)),
        )
        for name, estimates in found.items()
    }


def _bound(odds: Float[np.ndarray, "m q"], variable: Variable, clusters: Int[np.ndarray, "m"]) -> Estimate:
    known = variable.y_test >= 0
    odds = odds[known]
    if odds.shape[1] == 1:
        odds = np.concatenate([np.zeros_like(odds), odds], axis=1)
        log_proba = odds - np.logaddexp.reduce(odds, axis=1, keepdims=True)
    else:
        log_sigmoid = -np.logaddexp(0, -odds)
        log_proba = log_sigmoid - np.logaddexp.reduce(log_sigmoid, axis=1, keepdims=True)
    return classifier_bound(log_proba, variable.y_test[known], clusters[known])


def _deal(clusters: Int[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """For each row the row whose label it gets: examples in a random order, their rows in their own."""
    names, ids = np.unique(clusters, return_inverse=True)
    return np.argsort(rng.permutation(len(names))[ids], kind="stable")
