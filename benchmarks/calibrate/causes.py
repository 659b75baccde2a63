"""Causes: p of directions that have nothing to do with the effect, power on planted ones, coverage of the mean over documents.

Effects are those of a model that is linear in the push, or bent (tokens), or squared (output shifts), in worlds of three kinds:
activations with a spectrum that falls as a power; a few coordinates that hold nearly all of the variance; uniform ones. The
unrelated direction is drawn with the covariance of the activations, or uniformly. The reference is its rank among 1,999 further
directions of the same kind, which no examination could afford to steer by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.evidence.causes import LINEAR_CONTROLS, RANDOM_DIRECTIONS
from workbench.evidence.steering import RANDOM
from workbench.statistics.directional import Draws, against_directions, effective_dimension, larger_than_directions
from workbench.statistics.intervals import mean_interval

WIDTH, ROWS, BRUTE = 96, 600, 1999
EFFECTS = (0.2, 0.35, 0.6)
"""Cosines of planted directions with the gradient."""
REFERENCE = "rank among 1,999 directions of the same kind"
Trials = dict[str, Any]


class World:
    """Activations and a gradient; directions of either kind, and their effects."""

    def __init__(self, setting: str, rng: np.random.Generator) -> None:
        spectrum = np.arange(1, WIDTH + 1) ** (0.0 if setting == "isotropic" else -0.4)
        if setting == "massive":
            spectrum[:3] = 30
        self.acts = rng.normal(size=(ROWS, WIDTH)) * spectrum
        self.dimension = effective_dimension(self.acts)
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
        centred = self.acts - self.acts.mean(0)
        return _unit(self.rng.normal(size=(*shape, ROWS)) @ centred)

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


def _trials(kind: str, setting: str, law: str, controls: int, draws: int, seed: int) -> Trials:
    """Worlds of at most 100 directions each: in a study all concepts of a site share their controls."""
    parts: list[dict[Any, tuple[np.ndarray, np.ndarray]]] = []
    each = min(100, max(draws // 20, 1))
    for number in range(-(-draws // each)):
        world = World(setting, np.random.default_rng([seed, number]))
        pairs = [
            (_effect(kind, world, world.uniform(controls)), np.inf), (_effect(kind, world, world.matched(controls)),
            world.dimension)
        ]  # fmt: skip
        draw = world.matched if law == "matched" else world.uniform
        brute = _effect(kind, world, draw(BRUTE))
        unrelated = draw(each)
        found = {}
        for cosine in (0.0, *EFFECTS):
            value = _effect(kind, world, world.planted(unrelated, cosine) if cosine else unrelated)
            kinds = [Draws(effects[:, None], dimension) for effects, dimension in pairs]
            ours = (larger_than_directions if kind == "output" else against_directions)(value, kinds).p
            sizes = (brute, value) if kind == "output" else (np.abs(brute), np.abs(value))
            rank = (1 + (sizes[0][:, None] >= sizes[1][None]).sum(0)) / (1 + BRUTE)
            found[cosine] = (ours, rank)
        parts.append(found)
    joined = {c: tuple(np.concatenate([part[c][i] for part in parts])[:draws] for i in (0, 1)) for c in (0.0, *EFFECTS)}
    return {
        "p": joined[0.0][0], "covered": None, "p_reference": joined[0.0][1], "reference": REFERENCE,
        "power": {cosine: joined[cosine] for cosine in EFFECTS},
    }  # fmt: skip


def readout_isotropic(draws: int, seed: int) -> Trials:
    """`causes.readout` of uniform directions."""
    return _trials("readout", "isotropic", "uniform", RANDOM_DIRECTIONS, draws, seed)


def readout_matched(draws: int, seed: int) -> Trials:
    """`causes.readout` of directions that vary as the activations do."""
    return _trials("readout", "data", "matched", RANDOM_DIRECTIONS, draws, seed)


def readout_massive(draws: int, seed: int) -> Trials:
    """`causes.readout` where three coordinates hold nearly all of the variance."""
    return _trials("readout", "massive", "matched", RANDOM_DIRECTIONS, draws, seed)


def output_isotropic(draws: int, seed: int) -> Trials:
    """`causes.output` of uniform directions."""
    return _trials("output", "isotropic", "uniform", RANDOM_DIRECTIONS, draws, seed)


def output_matched(draws: int, seed: int) -> Trials:
    """`causes.output` of directions that vary as the activations do."""
    return _trials("output", "data", "matched", RANDOM_DIRECTIONS, draws, seed)


def tokens_isotropic(draws: int, seed: int) -> Trials:
    """`causes.tokens` of uniform directions."""
    return _trials("tokens", "isotropic", "uniform", RANDOM, draws, seed)


def tokens_matched(draws: int, seed: int) -> Trials:
    """`causes.tokens` of directions that vary as the activations do."""
    return _trials("tokens", "data", "matched", RANDOM, draws, seed)


def tokens_massive(draws: int, seed: int) -> Trials:
    """`causes.tokens` where three coordinates hold nearly all of the variance."""
    return _trials("tokens", "massive", "matched", RANDOM, draws, seed)


def sensitivity_matched(draws: int, seed: int) -> Trials:
    """`causes.sensitivity` of directions that vary as the activations do."""
    return _trials("sensitivity", "data", "matched", LINEAR_CONTROLS, draws, seed)


def sensitivity_massive(draws: int, seed: int) -> Trials:
    """`causes.sensitivity` where three coordinates hold nearly all of the variance."""
    return _trials("sensitivity", "massive", "matched", LINEAR_CONTROLS, draws, seed)


def interval_documents(draws: int, seed: int) -> Trials:
    """The interval of a mean effect over 12 texts of 12 documents."""
    return _coverage(draws, seed, texts=12, documents=12)


def interval_few(draws: int, seed: int) -> Trials:
    """The interval of a mean effect over 12 texts of 4 documents, whose texts share half of the variance."""
    return _coverage(draws, seed, texts=12, documents=4)


def _coverage(draws: int, seed: int, texts: int, documents: int) -> Trials:
    rng = np.random.default_rng(seed)
    clusters = np.arange(texts) % documents
    values = 0.3 + rng.normal(size=(documents, draws))[clusters] + rng.normal(size=(texts, draws))
    low, high = mean_interval(values, clusters)
    return {"p": None, "covered": (low <= 0.3) & (high >= 0.3), "p_reference": None, "reference": "", "power": {}}
