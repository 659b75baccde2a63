"""TCAV: false positives of its test, over families and far out in the tail, power on planted concepts, coverage of its intervals.

Everything goes through the analysis's own functions: `fit_sets` fits concepts and their random sets, `score` tests them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from analyses.directions._shared.tcav import Scores, score
from analyses.directions._shared.vectors import Vectors, fit_sets
from benchmarks.calibrate.trials import Case, Trials
from workbench.statistics.clusters import Counts
from workbench.statistics.correction import holm
from workbench.statistics.nulls import rank_p

KINDS = ("independent", "documents", "runs", "sparse", "heavy tails", "rare", "few clusters", "copies")
SETS = 59
"""As the analysis has by default."""
WIDTH = 48
CONCEPTS = 20
INPUTS = 30
STORED = 1000
REFERENCE = f"rank among {STORED - 1} deals of the concept's own label"


def world(kind: str, seed: int, concepts: int = CONCEPTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations ``[n, d]``, labels ``[n, c]`` that have nothing to do with them, and the document of each row.

    Activations share a part by document, except in `independent`, where each row is a document of its own.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    lengths = np.ones(360, dtype=int) if kind == "independent" else rng.integers(4, 20, 16 if kind == "few clusters" else 32)
    documents, n = len(lengths), int(lengths.sum())
    document = np.repeat(np.arange(documents), lengths)
    # Anisotropic, as activations are: a few coordinates hold most of the variance.
    scale = np.exp(rng.normal(size=WIDTH))
    x = scale * (rng.normal(size=(n, WIDTH)) + (kind != "independent") * rng.normal(size=(documents, WIDTH))[document])
    if kind == "sparse":
        x = np.maximum(x - 1.5 * scale, 0)
    if kind == "heavy tails":
        x = scale * np.sinh(1.5 * x / scale)
    y = np.zeros((n, concepts))
    for column in range(concepts):
        if kind in ("independent", "sparse", "heavy tails"):
            y[:, column] = rng.permutation(n) < n // 2
        elif kind == "rare":
            y[:, column] = rng.permutation(n) < 24
        elif kind == "runs":
            for start in rng.integers(0, n - 6, n // 16):
                y[start : start + 6, column] = 1
        else:
            positive = 8 if kind == "few clusters" else documents // 3
            y[:, column] = np.isin(document, rng.permutation(documents)[:positive])
    if kind == "copies":
        rows = np.tile(np.arange(n), 3)
        rows = rows[np.argsort(document[rows], kind="stable")]
        x, y, document = x[rows], y[rows], document[rows]
    return x.astype(np.float32), y, document


def gradients(rng: np.random.Generator, count: int = 1) -> dict[str, torch.Tensor]:
    """Of some classes: a pull of their own, and what differs by input."""
    made = rng.normal(size=(count, 1, WIDTH)) + 0.5 * rng.normal(size=(count, INPUTS, WIDTH))
    return {f"class {number}": torch.from_numpy(made[number]) for number in range(count)}


def false_positives(draws: int, seed: int, kind: str) -> dict[str, Any]:
    """p values of concepts that are nothing, each world fitted anew."""
    p: list[np.ndarray] = []
    for number in range(-(-draws // CONCEPTS)):
        x, y, document = world(kind, seed * 100_003 + number)
        vectors = fit_sets(x, y, document, per_side=150, sets=SETS, seed=number)
        p.append(score(vectors, gradients(np.random.default_rng([seed, number]))).p[:, 0])
    return _trials(np.concatenate(p)[:draws])


def tail(draws: int, seed: int, kind: str, worlds: int = 10) -> dict[str, Any]:
    """p values of random sets taken for concepts, drawn from stored vectors: as many as the tail needs."""
    rng, p = np.random.default_rng(seed), []
    per_world, step = -(-draws // worlds), 500
    for number in range(worlds):
        stored = _stored(kind, seed * 1009 + number, 1, 2 * STORED)
        for _ in range(-(-per_world // step)):
            p.append(score(_drawn(stored, np.zeros(step, dtype=int), rng), gradients(rng)).p[:, 0])
    return _trials(np.concatenate(p)[:draws])


def families(draws: int, seed: int, kind: str) -> dict[str, Any]:
    """The smallest corrected p value of families of 20 concepts that are nothing."""
    rng, p = np.random.default_rng(seed), []
    stored = _stored(kind, seed, CONCEPTS, STORED)
    for _ in range(draws):
        found = score(_drawn(stored, np.arange(CONCEPTS), rng), gradients(rng))
        p.append(np.nanmin(holm(found.p[:, 0])))
    return _trials(np.array(p))


def power(
    draws: int, seed: int, kind: str = "independent", effects: tuple[float, ...] = (2.0, 3.0, 4.5), sets: int = SETS
) -> dict[str, Any]:
    """One of 20 concepts is planted: its derivative lies so many deviations of the random sets' beyond where it was.

    ``power`` holds raw p values of it and of the reference, ``corrected`` Holm's p over the 20.
    """
    rng = np.random.default_rng(seed)
    stored = _stored(kind, seed, CONCEPTS, STORED)
    found: dict[str, Any] = {"power": {}, "corrected": {}}
    for effect in effects:
        ours, reference, corrected = np.empty(draws), np.empty(draws), np.empty(draws)
        for number in range(draws):
            grads = gradients(rng)
            mean = grads["class 0"].numpy().mean(axis=0)
            vectors, planted = _drawn(stored, np.arange(CONCEPTS), rng, sets=sets), int(rng.integers(CONCEPTS))
            every = stored[planted] @ mean
            vectors.weights[planted] = _moved(vectors.weights[planted], mean, effect * every.std(ddof=1))
            p = score(vectors, grads).p[:, 0]
            ours[number], corrected[number] = p[planted], holm(p)[planted]
            away = np.abs(every - every.mean())
            reference[number] = rank_p(abs(float(_unit(vectors.weights[planted]) @ mean) - every.mean()), away)
        found["power"][effect], found["corrected"][effect] = (ours, reference), corrected
    return _trials(np.empty(0)) | {"reference": REFERENCE} | found


def against_permutations(draws: int, seed: int, kind: str, sets: int = SETS) -> dict[str, Any]:
    """Null p values beside those of the exact permutation test."""
    rng = np.random.default_rng(seed)
    stored = _stored(kind, seed, CONCEPTS, STORED)
    ours, reference = np.empty(draws), np.empty(draws)
    for number in range(draws):
        grads, column, one = gradients(rng), int(rng.integers(CONCEPTS)), int(rng.integers(STORED))
        vectors = _drawn(stored, np.array([column]), rng, np.array([one]), sets)
        every = stored[column] @ grads["class 0"].numpy().mean(axis=0)
        away = np.abs(every - every.mean())
        ours[number], reference[number] = score(vectors, grads).p[0, 0], rank_p(away[one], np.delete(away, one))
    return _trials(ours) | {"p_reference": reference, "reference": REFERENCE}


def intervals(draws: int, seed: int) -> dict[str, Any]:
    """Coverage of the interval of the sign count, over 12 documents of inputs whose gradients are alike."""
    rng, covered = np.random.default_rng(seed), []
    directions = _unit(rng.normal(size=(CONCEPTS, WIDTH)))
    for _ in range(-(-draws // CONCEPTS)):
        document = np.repeat(np.arange(12), rng.integers(1, 5, 12))
        pull = 0.3 * rng.normal(size=WIDTH)
        made = pull + rng.normal(size=(12, WIDTH))[document] + rng.normal(size=(len(document), WIDTH))
        found = score(_plain(directions), {"class": torch.from_numpy(made)}, {"class": document})
        # Along a unit vector a derivative is normal with a variance of 2.
        truth = _normal_share(directions @ pull / np.sqrt(2))
        covered.append(_within(found, truth))
    return _trials(np.empty(0)) | {"covered": np.concatenate(covered)[:draws]}


def _within(found: Scores, truth: np.ndarray) -> np.ndarray:
    low, high = found.share_range
    return np.asarray((low[:, 0] <= truth) & (truth <= high[:, 0]))


def _normal_share(z: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return np.asarray(norm.cdf(z))


@lru_cache(maxsize=2)
def _stored(kind: str, seed: int, concepts: int, sets: int) -> np.ndarray:
    """Unit vectors ``[c, sets, d]`` of random sets."""
    x, y, document = world(kind, seed, concepts)
    return _unit(fit_sets(x, y, document, per_side=150, sets=sets, seed=seed).random.astype(np.float64))


def _drawn(
    stored: np.ndarray, columns: np.ndarray, rng: np.random.Generator, first: np.ndarray | None = None, sets: int = SETS
) -> Vectors:
    """For each concept one of its random sets in its place, and others of them."""
    order = np.stack([rng.permutation(stored.shape[1]) for _ in columns])
    if first is not None:
        order = np.stack([np.concatenate([[f], row[row != f]]) for f, row in zip(first, order, strict=True)])
    found = stored[columns[:, None], order[:, : sets + 1]]
    return _vectors(found[:, 0].copy(), found[:, 1:].astype(np.float32))


def _plain(directions: np.ndarray) -> Vectors:
    return _vectors(directions, np.random.default_rng(0).normal(size=(len(directions), SETS, WIDTH)).astype(np.float32))


def _vectors(weights: np.ndarray, random: np.ndarray) -> Vectors:
    count = len(weights)
    enough = np.full(count, 100)
    names = [str(number) for number in range(count)]
    return Vectors(
        names, weights, np.zeros(count), random, Counts(enough, enough, enough, enough), enough, np.full(count, np.inf)
    )


def _moved(vector: np.ndarray, gradient: np.ndarray, by: float) -> np.ndarray:
    """A unit vector whose derivative is larger by so much: turned towards the gradient."""
    length = float(np.linalg.norm(gradient))
    along = gradient / length
    height = float(_unit(vector) @ along)
    rest = _unit(_unit(vector) - height * along)
    target = min(height + by / length, 0.999)
    return target * along + np.sqrt(1 - target**2) * rest


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _trials(p: np.ndarray) -> dict[str, Any]:
    return {"p": p, "covered": None, "p_reference": None, "reference": "", "power": {}}


def _p(draw: Callable[..., dict[str, Any]], kind: str, draws: int, seed: int) -> Trials:
    return Trials(p=draw(draws, seed, kind)["p"])


def _planted(kind: str, draws: int, seed: int) -> Trials:
    found = power(max(1, draws // 3), seed, kind)
    return Trials(power={f"{effect:g} deviations": pair for effect, pair in found["power"].items()}, reference=REFERENCE)


def _corrected(kind: str, draws: int, seed: int) -> Trials:
    """One of 20 concepts at 4.5 deviations, 30 random sets: corrected power of at least .8, as of a test that is always right."""
    found = power(draws, seed, kind, effects=(4.5,), sets=30)["corrected"][4.5]
    return Trials(power={"4.5 deviations, corrected over 20, 30 sets": (found, np.zeros(draws))}, reference="certainty")


def _covers(draws: int, seed: int) -> Trials:
    return Trials(covered=intervals(draws, seed)["covered"])


CASES = [
    *(Case("tcav.effect", f"{kind}, stored sets", partial(_p, tail, kind)) for kind in KINDS),
    *(Case("tcav.effect", kind, partial(_p, false_positives, kind), most=2_000) for kind in KINDS),
    *(Case("tcav.effect", f"{kind}, families of 20, corrected", partial(_p, families, kind), most=2_000) for kind in KINDS),
    *(Case("tcav.effect", f"{kind}, planted", partial(_planted, kind), most=900) for kind in KINDS),
    *(Case("tcav.effect", f"{kind}, one planted of 20", partial(_corrected, kind), most=500) for kind in KINDS),
    Case("tcav.score", "12 documents", _covers, most=4_000),
]
