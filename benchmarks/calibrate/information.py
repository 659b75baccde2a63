"""Calibration of mutual information: p values and the interval of the classifier bound, p of nearest neighbours and of tables.

Each function simulates draws of one setting and returns what is to be judged: p values where there is nothing to find, whether
intervals cover, p of a reference test on the same draws, and p of both on planted effects.
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chi2_contingency

from analyses.information._shared.bound import classifier_bounds
from analyses.information._shared.variables import Group, Variable
from benchmarks.calibrate.trials import Case, Trials
from probes import LogisticProbe
from workbench.information import classifier_bound, plugin_discrete, with_null
from workbench.information.bound import LEAST_DRAWS, held_out_p
from workbench.information.mixed import MixedRows, mixed_ksg_tested
from workbench.information.null import PERMUTATIONS as NULL_PERMUTATIONS
from workbench.information.null import held

SETTINGS = ("independent", "documents", "runs", "rare", "eight", "heavy tails", "copies", "ragged")
EFFECTS = (0.5, 1.0, 2.0)
"""Shifts of one feature with the label, in its deviations within a document."""

PERMUTATIONS = 1999
"""Of the reference: all documents' labels dealt anew, without an early end."""

_PER_CLASSIFIER = 50


def world(setting: str, rng: np.random.Generator, effect: float = 0.0, documents: int = 30) -> tuple[np.ndarray, ...]:
    """Rows ``[n, 4]``, a 0/1 label and the document of each row; with effect 0 they have nothing to do with each other."""
    rows = 8
    sizes = rng.integers(2, 15, documents) if setting == "ragged" else np.full(documents, rows)
    if setting == "independent":
        documents, sizes = documents * rows, np.ones(documents * rows, dtype=int)
    document = np.repeat(np.arange(documents), sizes)
    n = len(document)
    own = rng.standard_normal((documents, 4))[document]
    inside = rng.standard_t(2, (n, 4)) if setting == "heavy tails" else rng.standard_normal((n, 4))
    X = inside + (0 if setting == "independent" else own)
    if setting == "copies":
        X = own + 1e-7 * inside
    if setting in {"documents", "heavy tails", "copies"}:
        y = rng.permutation(np.arange(documents) < documents * 0.4)[document]
    elif setting == "eight":
        y = rng.permutation(np.arange(documents) < round(documents * 8 / 30))[document]
    elif setting in {"runs", "ragged"}:
        rate = rng.choice([0.1, 0.7], documents)[document]
        run = np.unique(np.stack([document, np.arange(n) // 4]), axis=1, return_inverse=True)[1].reshape(-1)
        y = rng.random(run.max() + 1)[run] < rate
    else:
        y = rng.random(n) < (0.1 if setting == "rare" else 0.3)
    X[:, 0] += effect * y
    return X, y.astype(np.int64), document


def bound_p(draws: int, seed: int, setting: str = "documents", planted: bool = False) -> Trials:
    """p of the classifier bound: held-out labels dealt to other documents."""
    rng = np.random.default_rng(seed)
    found: dict[float, list[tuple[float, float, float]]] = {}
    for effect, count in _plan(draws, planted):
        found[effect] = []
        while len(found[effect]) < count:
            classify = _classifier(setting, rng, effect)
            for _ in range(_PER_CLASSIFIER):
                X, y, clusters = _held_out(setting, rng, effect)
                log_proba = classify(X)
                p = held_out_p(log_proba, y, clusters, PERMUTATIONS, seed=int(rng.integers(1 << 31)))
                found[effect].append((p, _brute_force(log_proba, y, clusters) if planted else float("nan"), np.nan))
    return _judged(found, f"{PERMUTATIONS:,} permutations of the documents' blocks of labels")


def bound_interval(draws: int, seed: int, setting: str = "documents", effect: float = 1.0) -> Trials:
    """Whether the interval of the classifier bound covers the classifier's bound on very many documents."""
    rng = np.random.default_rng(seed)
    covered: list[bool] = []
    while len(covered) < draws:
        classify = _classifier(setting, rng, effect)
        X, y, _ = world(setting, rng, effect, 2500 if setting == "independent" else 12_000)
        truth = classifier_bound(classify(X), y).value
        for _ in range(min(_PER_CLASSIFIER * 4, draws - len(covered))):
            X, y, clusters = _held_out(setting, rng, effect)
            one = classifier_bound(classify(X), y, clusters)
            covered.append(bool(one.low <= truth <= one.high))
    return Trials(covered=np.array(covered))


def bound_above(draws: int, seed: int, setting: str = "documents") -> Trials:
    """Whether the classifier bound is above its null's 95th percentile: classifiers fitted to labels dealt to other documents."""
    rng = np.random.default_rng(seed)
    above = []
    for number in range(draws):
        (x_train, y_train, train), (x_test, y_test, test) = (_held_out(setting, rng, 0.0) for _ in range(2))
        group = Group("token", [Variable("label", y_train, y_test)], x_train, x_test, train, test)
        found = classifier_bounds(group, NULL_PERMUTATIONS, LEAST_DRAWS, seed + number)["label"]
        above.append(found.value > found.null_high)
    return Trials(above=np.array(above))


def ksg_p(draws: int, seed: int, setting: str = "documents", planted: bool = False) -> Trials:
    """p of the nearest neighbours' estimate in two coordinates: labels dealt to other documents."""
    rng = np.random.default_rng(seed)
    found: dict[float, list[tuple[float, float, float]]] = {}
    for effect, count in _plan(draws, planted):
        found[effect] = []
        for _ in range(count):
            X, y, clusters = _held_out(setting, rng, effect)
            X, own = X[:, :2], int(rng.integers(1 << 31))
            ours = mixed_ksg_tested(X, y, 5, clusters, 99, 999, seed=own)
            reference = float("nan")
            if planted:
                rows = MixedRows.of(X, y, 5, clusters, own)
                null = rows.permuted(5, PERMUTATIONS, rng)
                reference = (1 + (null >= ours.value - 1e-9).sum()) / (1 + PERMUTATIONS)
            found[effect].append((ours.p, float(reference), ours.value > ours.null_high))
    return _judged(found, f"{PERMUTATIONS:,} permutations of documents")


def table_p(draws: int, seed: int, setting: str = "independent", planted: bool = False) -> Trials:
    """p of the plug-in estimate of four bins by two classes; the reference is Pearson's test where rows are independent."""
    rng = np.random.default_rng(seed)
    estimate = partial(plugin_discrete, correct=False)
    found: dict[float, list[tuple[float, float, float]]] = {}
    for effect, count in _plan(draws, planted):
        found[effect] = []
        for _ in range(count):
            X, y, clusters = _held_out(setting, rng, effect)
            codes = np.searchsorted(np.quantile(X[:, 0], [0.25, 0.5, 0.75]), X[:, 0])
            ours = with_null(estimate, codes, y, 99, int(rng.integers(1 << 31)), clusters)
            table = np.bincount(codes * 2 + y, minlength=8).reshape(4, 2)
            reference = chi2_contingency(table).pvalue if setting == "independent" else float("nan")
            found[effect].append((ours.p, reference, ours.value > ours.null_high))
    return _judged(found, "Pearson's chi-square test" if setting == "independent" else "")


def _held_out(setting: str, rng: np.random.Generator, effect: float) -> tuple[np.ndarray, ...]:
    """A world in which both classes are in enough documents for a p value."""
    while True:
        X, y, clusters = world(setting, rng, effect)
        if not held(y, clusters).reason:
            return X, y, clusters


def _classifier(setting: str, rng: np.random.Generator, effect: float) -> Any:
    """A classifier of other documents, as a function from rows to logarithms of probabilities."""
    X, y, _ = _held_out(setting, rng, effect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe = LogisticProbe(C=0.02, max_iter=100, tol=1e-3).fit(X, y)

    def classify(rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m 2"]:
        odds = rows @ probe.coef_[0] + probe.intercept_[0]
        return np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1)

    return classify


def _brute_force(log_proba: Float[np.ndarray, "m 2"], y: Int[np.ndarray, " m"], clusters: Int[np.ndarray, " m"]) -> float:
    """p by permuting the blocks of labels of documents of one length; nan where their lengths differ."""
    sizes = np.bincount(clusters)
    if (sizes != sizes[0]).any():
        return float("nan")
    gain = (log_proba[:, 1] - log_proba[:, 0]).reshape(len(sizes), -1)
    # Entry a, b: what the labels of document a add to the sum at the rows of document b.
    moved = y.reshape(len(sizes), -1).astype(float) @ gain.T
    null = moved[_turns(len(sizes)), np.arange(len(sizes))].sum(axis=1)
    return float((1 + (null >= np.trace(moved) - 1e-9).sum()) / (1 + PERMUTATIONS))


@cache
def _turns(documents: int) -> Int[np.ndarray, "p d"]:
    return np.random.default_rng(1).permuted(np.tile(np.arange(documents), (PERMUTATIONS, 1)), axis=1)


def _plan(draws: int, planted: bool) -> list[tuple[float, int]]:
    """How many draws of which effect: of nothing, or a third of each size."""
    return [(effect, max(1, draws // len(EFFECTS))) for effect in EFFECTS] if planted else [(0.0, draws)]


def _judged(found: dict[float, list[tuple[float, float, float]]], reference: str) -> Trials:
    pairs = {effect: np.array(values) for effect, values in found.items()}
    power = {f"{effect:g} deviations": (p[:, 0], p[:, 1]) for effect, p in pairs.items() if effect}
    nothing = pairs.get(0.0)
    return Trials(
        p=None if nothing is None else nothing[:, 0],
        above=None if nothing is None else nothing[:, 2],
        power=power,
        reference=reference,
    )


ALIKE = tuple(setting for setting in SETTINGS if setting != "ragged")
"""Settings whose documents are of one length, so that brute force is the permutation of whole blocks."""
CASES = [
    *(Case("mi.bound", setting, partial(bound_p, setting=setting), most=20_000) for setting in SETTINGS),
    *(Case("mi.bound", f"{setting}, planted", partial(bound_p, setting=setting, planted=True), most=900) for setting in ALIKE),
    *(Case("mi.bound", f"{setting}, effect 1", partial(bound_interval, setting=setting), most=4_000) for setting in SETTINGS),
    *(
        Case("mi.bound", f"{setting}, fitted to nothing", partial(bound_above, setting=setting), most=2_000)
        for setting in SETTINGS
    ),
    *(Case("mi.ksg", setting, partial(ksg_p, setting=setting), most=2_000) for setting in SETTINGS),
    *(Case("mi.ksg", f"{setting}, planted", partial(ksg_p, setting=setting, planted=True), most=600) for setting in SETTINGS),
    *(Case("plug-in information", setting, partial(table_p, setting=setting), most=2_000) for setting in SETTINGS),
    Case("plug-in information", "independent, planted", partial(table_p, setting="independent", planted=True), most=900),
]
