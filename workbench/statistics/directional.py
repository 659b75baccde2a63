"""An effect of a direction among those of random directions: what is expected, the 95% level, and p against several kinds.

Effects of random directions are sums of many small parts, so they are near to normal and a few draws give a tail that can be
corrected for many tests. How near depends on the directions: those drawn with a covariance in which a few directions hold most
have heavier tails, and are given fewer degrees of freedom, or a rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from workbench.errors import DataError
from workbench.statistics.few_draws import rank_or_tail_p
from workbench.statistics.nulls import t_tail_p, upper

FEWEST_DEGREES = 8.0
_COUNTED = 10


class Draws(NamedTuple):
    """Effects of random directions of one kind.

    Attributes:
        effects: ``[r, *c]``: signed, one a direction.
        dimension: The effective dimension of the directions' law, see :func:`effective_dimension`; infinite of uniform ones.
    """

    effects: Float[np.ndarray, "r *c"]
    dimension: float = np.inf


class Beyond(NamedTuple):
    """What stands beside effects: each of the shape of the effects.

    Attributes:
        null: The mean size of a random direction's effect.
        high: The size that at most 5% of further random directions exceed, see `workbench.statistics.nulls.upper`.
        p: Raw, two-sided.
    """

    null: np.ndarray
    high: np.ndarray
    p: np.ndarray


def effective_dimension(acts_nd: Float[np.ndarray, "n d"]) -> float:
    """``(sum of eigenvalues)^2 / sum of their squares`` of the covariance of some rows (the participation ratio).

    The squared length of a Gaussian vector with that covariance varies as that of a chi-squared variable with so many degrees of
    freedom, so a coordinate of the direction, divided by its length, has tails no heavier than those of Student's t with them.

    Raises:
        DataError: There are fewer than two rows, or they are all alike.
    """
    acts = np.asarray(acts_nd, dtype=np.float64)
    centred = acts - acts.mean(0)
    gram = centred.T @ centred if acts.shape[1] <= len(acts) else centred @ centred.T
    total = float(np.trace(gram))
    if len(acts) < 2 or total <= 0:
        raise DataError("Activations that do not vary have no covariance to draw directions with: capture more rows.")
    return total**2 / float(np.square(gram).sum())


def against_directions(value: Float[np.ndarray, "*c"] | float, kinds: Sequence[Draws]) -> Beyond:
    """Hold effects against those of random directions, the stricter of several kinds: the larger p and the higher level.

    p is a rank, ``(1 + b) / (1 + r)`` of b effects at least as large among r. Where b is less than a rank of .05 has, and less
    than 10, it is that of Student's t for a further draw, with ``1 / (1 / (r - 1) + 1 / dimension)`` degrees of freedom, 8 at
    least; see `workbench.statistics.few_draws.rank_or_tail_p`.

    Args:
        value: ``[*c]``.
        kinds: Effects ``[r, *c]`` each, at least 19 of them.

    Assumes that an unrelated direction is drawn like those of one of the kinds. Below .05 p also assumes effects that
    are linear in the direction, or near to it. Source: Crawford and Howell (1998) for the prediction.
    """
    value = np.asarray(value, dtype=np.float64)
    found = [_one(value, np.asarray(kind.effects, dtype=np.float64), kind.dimension) for kind in kinds]
    high = np.stack([one.high for one in found])
    strict = high.argmax(0)
    null = np.take_along_axis(np.stack([one.null for one in found]), strict[None], 0)[0]
    return Beyond(null, high.max(0), np.stack([one.p for one in found]).max(0))


def larger_than_directions(value: Float[np.ndarray, "*c"] | float, kinds: Sequence[Draws]) -> Beyond:
    """As :func:`against_directions`, of effects that are never negative, such as a divergence: one-sided, on the log scale.

    The logarithm of a sum of squares is skewed, so the tail stands for a rank only where no effect is as large.
    """
    least = np.finfo(np.float32).tiny
    logs = [Draws(np.log(np.maximum(kind.effects, least)), kind.dimension) for kind in kinds]
    value = np.log(np.maximum(np.asarray(value, dtype=np.float64), least))
    p = np.stack([_p(value, kind.effects, kind.dimension, two_sided=False) for kind in logs]).max(0)
    high = np.stack([upper(kind.effects) for kind in kinds])
    means = np.stack([np.mean(kind.effects, axis=0) for kind in kinds])
    return Beyond(np.take_along_axis(means, high.argmax(0)[None], 0)[0], high.max(0), p)


def _one(value: np.ndarray, effects: np.ndarray, dimension: float) -> Beyond:
    size = np.abs(effects)
    return Beyond(size.mean(0), upper(size), _p(value, effects, dimension, two_sided=True))


def _p(value: np.ndarray, effects: np.ndarray, dimension: float, *, two_sided: bool) -> np.ndarray:
    r = len(effects)
    beyond = ((np.abs(effects) >= np.abs(value)) if two_sided else effects >= value).sum(0)
    degrees = 1 / (1 / (r - 1) + 1 / dimension)
    tail = t_tail_p(value, effects, two_sided, degrees) if degrees >= FEWEST_DEGREES else np.nan
    return rank_or_tail_p(beyond, r, tail, max(1, min(_COUNTED, int(0.05 * (1 + r) + 1e-9))) if two_sided else 1)
