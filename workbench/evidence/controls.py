"""Random directions that concepts of a site are held against: uniform ones, and ones that vary as the activations there do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.statistics.directional import Draws, effective_dimension
from workbench.statistics.directions import covariance_directions, isotropic_directions

FAR = 10.0
"""Rows further from the mean than so many times the middle distance are no ordinary ones: attention sinks, for example."""


def ordinary_rows(acts_nd: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The rows without those whose distance from the mean is beyond `FAR` times the middle one.

    A few rows, such as the first of a text in a decoder without a special token, can be a hundred times the norm of the others;
    no concept was found on them and the deviation of all rows would be theirs alone.
    """
    acts = np.asarray(acts_nd, dtype=np.float32)
    distance = np.linalg.norm(acts - np.median(acts, axis=0), axis=1)
    kept: np.ndarray = acts[distance <= FAR * np.median(distance)]
    return kept


@dataclass(frozen=True)
class Controls:
    """Random unit vectors of two kinds.

    Attributes:
        isotropic: ``[r, d]``, uniform on the sphere.
        matched: ``[r, d]``, with the covariance of the activations; of no rows where there are no activations to match.
        dimension: The effective dimension of that covariance.
    """

    isotropic: Float[Tensor, "r d"]
    matched: Float[Tensor, "m d"]
    dimension: float

    @staticmethod
    def drawn(count: int, width: int, acts_nd: Float[np.ndarray, "n d"] | None, seed: int) -> Controls:
        """So many of each kind; ``acts_nd`` are rows of the site, None for uniform directions alone."""
        uniform = isotropic_directions(count, width, seed)
        if acts_nd is None:
            return Controls(uniform, torch.zeros(0, width), np.inf)
        matched = covariance_directions(count, torch.from_numpy(acts_nd), seed + 1)
        return Controls(uniform, matched, effective_dimension(acts_nd))

    def __len__(self) -> int:
        return len(self.isotropic) + len(self.matched)

    @cached_property
    def directions(self) -> Float[Tensor, "k d"]:
        """All of them, the uniform ones first."""
        return torch.cat([self.isotropic, self.matched])

    def some(self, count: int) -> Controls:
        """The first so many of each kind."""
        return Controls(self.isotropic[:count], self.matched[:count], self.dimension)

    def after(self, count: int) -> Controls:
        """All but the first so many of each kind."""
        return Controls(self.isotropic[count:], self.matched[count:], self.dimension)

    def and_more(self, others: Controls) -> Controls:
        """These and others of the same site."""
        isotropic, matched = torch.cat([self.isotropic, others.isotropic]), torch.cat([self.matched, others.matched])
        return Controls(isotropic, matched, self.dimension)

    def draws(self, effects: Float[np.ndarray, "k *c"]) -> list[Draws]:
        """The effects of `directions`, by kind."""
        uniform = len(self.isotropic)
        kinds = [Draws(effects[:uniform]), Draws(effects[uniform:], self.dimension)]
        return [kind for kind in kinds if len(kind.effects)]

    def most(self, of_all: Callable[[Float[np.ndarray, "r *c"]], np.ndarray], effects: Float[np.ndarray, "k *c"]) -> np.ndarray:
        """The larger of what ``of_all`` gives for the effects of either kind."""
        return np.stack([of_all(kind.effects) for kind in self.draws(effects)]).max(0)
