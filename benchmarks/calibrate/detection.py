"""Detection and information of labelled concepts: p, the null's 95th percentile, intervals, and the power of brute force."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from benchmarks.calibrate.trials import Case, Trials
from benchmarks.calibrate.worlds import FEW_LONG, SETTINGS, World, world
from workbench.evidence.informs import information
from workbench.statistics.auroc import auroc_matrix, clustered_auroc
from workbench.statistics.correction import holm
from workbench.statistics.dealing import dealt_labels
from workbench.statistics.permutation import permuted_by_cluster

CONCEPTS = 50
EFFECTS = (0.25, 0.5, 1.0)
DEALS = 499
POWERED = 300
FEW = 8_000
"""Draws of what gives no p value."""


def detects(setting: str, draws: int, seed: int) -> Trials:
    """The AUROC of unrelated labels, and the coverage of one half."""
    rng = np.random.default_rng(seed)
    p, above, covered = [], [], []
    for _ in range(max(1, draws // CONCEPTS)):
        drawn = world(setting, rng, CONCEPTS)
        area = clustered_auroc(drawn.scores, drawn.labels, drawn.document)
        permuted = permuted_by_cluster(drawn.scores, drawn.labels, drawn.document)
        low, high = area.interval(null_error=permuted.spread)
        p.append(permuted.p)
        above.append(np.where(np.isnan(permuted.high), np.nan, area.value > permuted.high))
        covered.append(np.where(np.isnan(low), np.nan, (low <= 0.5) & (high >= 0.5)))
    return Trials(np.concatenate(p), np.concatenate(above), np.concatenate(covered))


def sees(setting: str, draws: int, seed: int) -> Trials:
    """Planted effects, beside labels dealt out by brute force."""
    power = {f"{effect:g} deviations": _power(setting, effect, seed, max(1, draws // len(EFFECTS))) for effect in EFFECTS}
    return Trials(power=power, reference=f"{DEALS} deals of documents by brute force")


def family(draws: int, seed: int) -> Trials:
    """Holm's correction over 1,000 concepts that are nothing, one row a document; a draw is a family."""
    rng, p = np.random.default_rng(seed), []
    label = np.repeat((np.arange(200) < 30).astype(float)[:, None], 1000, axis=1)
    for _ in range(draws):
        p.append(holm(permuted_by_cluster(rng.normal(size=label.shape), label).p).min())
    return Trials(p=np.array(p))


def _power(setting: str, effect: float, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = world(setting, np.random.default_rng([seed, 1]), draws, effect)
    ours = permuted_by_cluster(drawn.scores, drawn.labels, drawn.document).p
    return ours, np.array([_brute_force(drawn, column) for column in range(draws)])


def _brute_force(drawn: World, column: int) -> float:
    score, label = drawn.scores[:, [column]], drawn.labels[:, column]
    dealt = dealt_labels(label == 1, drawn.document, DEALS, column).T.astype(float)
    found = auroc_matrix(score, np.concatenate([label[:, None], dealt], axis=1))[0]
    return float((1 + (found[1:] >= found[0] - 1e-12).sum()) / (1 + DEALS))


def covers_effects(setting: str, draws: int, seed: int) -> Trials:
    """The interval of the AUROC where there is something: it holds the AUROC of a very large sample."""
    truth, rng, covered = _truth(setting, 0.8, "area"), np.random.default_rng(seed), []
    for _ in range(max(1, draws // CONCEPTS)):
        drawn = world(setting, rng, CONCEPTS, 0.8)
        area = clustered_auroc(drawn.scores, drawn.labels, drawn.document)
        low, high = area.interval(null_error=permuted_by_cluster(drawn.scores, drawn.labels, drawn.document).spread)
        covered.append(np.where(np.isnan(low), np.nan, (low <= truth) & (high >= truth)))
    return Trials(covered=np.concatenate(covered))


def informs(setting: str, draws: int, seed: int, effect: float = 0.0) -> Trials:
    """Information of unrelated labels, or of planted ones: does its interval hold the truth, and is the null seldom passed?"""
    truth = _truth(setting, effect, "bits") if effect else 0.0
    rng, above, covered = np.random.default_rng(seed), [], []
    for _ in range(max(1, draws // CONCEPTS)):
        drawn = world(setting, rng, CONCEPTS, effect)
        bits = information(drawn.scores, drawn.labels, drawn.document, int(rng.integers(1 << 30)))
        known = np.isfinite(bits.low)
        covered.append(np.where(known, (bits.low <= truth) & (bits.high >= truth), np.nan))
        above.append(np.where(known, bits.value > bits.null_high, np.nan))
    return Trials(above=None if effect else np.concatenate(above), covered=np.concatenate(covered))


@cache
def _truth(setting: str, effect: float, what: str) -> float:
    """The value of a sample of a hundred times the documents."""
    # Eight positive documents of many more would be another world: their share is kept by taking many worlds as they are.
    documents = 30 if setting == "eight positive documents" else 1500
    worlds = 150 if setting == "eight positive documents" else 4
    found = []
    for number in range(worlds):
        drawn = world(setting, np.random.default_rng([number, 2]), 5, effect, documents)
        if what == "area":
            found.append(clustered_auroc(drawn.scores, drawn.labels, drawn.document).value)
        else:
            found.append(information(drawn.scores, drawn.labels, drawn.document, number, 19).value)
    return float(np.nanmean(found))


CASES = [
    *(Case("detects.auroc", setting, partial(detects, setting)) for setting in (*SETTINGS, FEW_LONG)),
    *(Case("detects.auroc", f"{setting}, planted", partial(sees, setting), most=POWERED) for setting in (*SETTINGS, FEW_LONG)),
    Case("detects.auroc", "families of 1,000 concepts, corrected", family, most=2_000),
    *(Case("detects.auroc", f"{setting}, effect .8", partial(covers_effects, setting), most=FEW) for setting in SETTINGS),
    *(Case("informs.bits", setting, partial(informs, setting), most=FEW) for setting in SETTINGS),
    *(Case("informs.bits", f"{setting}, effect .8", partial(informs, setting, effect=0.8), most=FEW) for setting in SETTINGS),
]
