"""Causes: p of directions that have nothing to do with the effect, power on planted ones, coverage of the mean over documents.

Effects are those of a model that is linear in the push, or bent (tokens), or squared (output shifts), in worlds of three kinds:
activations with a spectrum that falls as a power; a few coordinates that hold nearly all of the variance; uniform ones. The
unrelated direction is drawn with the covariance of the activations, or uniformly. The reference is the rank among 1,999
directions of each of both kinds, the larger of the two: the same hypothesis, by more directions than an examination could afford.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Float

from benchmarks.calibrate.trials import Case, Trials
from workbench.evidence.causes import LINEAR_CONTROLS, RANDOM_DIRECTIONS
from workbench.evidence.steering import RANDOM
from workbench.statistics.directional import Draws, against_directions, effective_dimension, larger_than_directions
from workbench.statistics.intervals import mean_interval

WIDTH, ROWS, BRUTE = 96, 600, 1999
EFFECTS = (0.2, 0.35, 0.6)
"""Cosines of planted directions with the gradient."""
REFERENCE = "larger rank among 1,999 directions of either kind"
EACH = 5
"""Directions of a world."""


class World:
    """Activations and a gradient; directions of either kind, and their effects."""

    def __init__(self, setting: str, rng: np.random.Generator) -> None:
        spectrum = np.arange(1, WIDTH + 1) ** (0.0 if setting == "isotropic" else -0.4)
        if setting == "massive":
            spectrum[:3] = 30
        acts = rng.normal(size=(ROWS, WIDTH)) * spectrum
        self.dimension = effective_dimension(acts)
        self.root = np.linalg.cholesky(np.cov(acts.T)).T
        # Models read where activations vary, and not the massive coordinates.
        reads = np.where(np.arange(WIDTH) < 3, 0.01 if setting == "massive" else 1, 1) * np.minimum(spectrum, 1)
        self.gradient = rng.normal(size=WIDTH) * reads
        self.gradient /= np.linalg.norm(self.gradient)
        self.rng = rng

    def uniform(self, *shape: int) -> Float[np.ndarray, "*shape d"]:
        """Directions uniform on the sphere."""
        return _unit(self.rng.normal(size=(*shape, WIDTH)))

    def matched(self, *shape: int) -> Float[np.ndarray, "*shape d"]:
        """Directions with the covariance of the activations."""
        return _unit(self.rng.normal(size=(*shape, WIDTH)) @ self.root)

    def planted(self, directions: np.ndarray, cosine: float) -> np.ndarray:
        """Directions turned towards the gradient, to that cosine with it beside what they have of it by chance."""
        return _unit(np.sqrt(1 - cosine**2) * directions + cosine * self.gradient)


def _unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def _effect(kind: str, world: World, directions: np.ndarray) -> np.ndarray:
    linear = directions @ world.gradient
    if kind == "output":
        # A divergence: a quadratic form, of which the gradient is the first direction and the next coordinates are others.
        return np.square(linear) + 0.05 * np.square(directions[..., 3:23]).sum(-1)
    return linear + (0.5 * np.square(linear) if kind == "tokens" else 0)


def _controls(kind: str, world: World, controls: int) -> list[Draws]:
    uniform, matched = _effect(kind, world, world.uniform(controls)), _effect(kind, world, world.matched(controls))
    return [Draws(uniform[:, None]), Draws(matched[:, None], world.dimension)]


def _p(kind: str, value: np.ndarray, kinds: list[Draws]) -> np.ndarray:
    return np.asarray((larger_than_directions if kind == "output" else against_directions)(value, kinds).p)


def unrelated(kind: str, setting: str, law: str, controls: int, draws: int, seed: int) -> Trials:
    """Directions that have nothing to do with the effect; few of a world, since all of a world share their controls."""
    p = []
    for number in range(-(-draws // EACH)):
        world = World(setting, np.random.default_rng([seed, number]))
        directions = world.matched(EACH) if law == "matched" else world.uniform(EACH)
        p.append(_p(kind, _effect(kind, world, directions), _controls(kind, world, controls)))
    return Trials(p=np.concatenate(p))


def planted(kind: str, setting: str, law: str, controls: int, draws: int, seed: int) -> Trials:
    """Directions turned towards the gradient, beside their rank among many further directions."""
    found: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {cosine: [] for cosine in EFFECTS}
    for number in range(max(1, draws // len(EFFECTS) // EACH)):
        world = World(setting, np.random.default_rng([seed, number]))
        kinds, brute = _controls(kind, world, controls), _controls(kind, world, BRUTE)
        directions = (world.matched if law == "matched" else world.uniform)(EACH)
        for cosine in EFFECTS:
            value = _effect(kind, world, world.planted(directions, cosine))
            rank = np.max([_rank(kind, value, one.effects) for one in brute], axis=0)
            found[cosine].append((_p(kind, value, kinds), rank))
    power = {
        f"cosine {cosine:g}": tuple(np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        for cosine, pairs in found.items()
    }
    return Trials(power=power, reference=REFERENCE)  # type: ignore[arg-type]


def _rank(kind: str, value: np.ndarray, effects: np.ndarray) -> np.ndarray:
    sizes = (effects, value) if kind == "output" else (np.abs(effects), np.abs(value))
    ranks: np.ndarray = (1 + (sizes[0] >= sizes[1]).sum(0)) / (1 + len(effects))
    return ranks


def covers(texts: int, documents: int, draws: int, seed: int) -> Trials:
    """The interval of a mean effect over texts; those of a document share half of the variance."""
    rng = np.random.default_rng(seed)
    clusters = np.arange(texts) % documents
    values = 0.3 + rng.normal(size=(documents, draws))[clusters] + rng.normal(size=(texts, draws))
    low, high = mean_interval(values, clusters)
    return Trials(covered=(low <= 0.3) & (high >= 0.3))


LAWS = (("isotropic", "uniform"), ("data", "matched"), ("massive", "matched"))
METRICS = {
    "causes.readout": ("readout", RANDOM_DIRECTIONS), "causes.output": ("output", RANDOM_DIRECTIONS),
    "causes.tokens": ("tokens", RANDOM), "causes.sensitivity": ("sensitivity", LINEAR_CONTROLS),
}  # fmt: skip


def _cases(metric: str) -> list[Case]:
    kind, controls = METRICS[metric]
    return [
        *(Case(metric, setting, partial(unrelated, kind, setting, law, controls)) for setting, law in LAWS),
        *(
            Case(metric, f"{setting}, planted", partial(planted, kind, setting, law, controls), most=4500)
            for setting, law in LAWS
        ),
        *(
            Case(metric, f"mean over 12 texts of {documents} documents", partial(covers, 12, documents), most=20_000)
            for documents in (12, 8)
        ),
    ]


CASES = [case for metric in METRICS for case in _cases(metric)]
