"""The upper tail of a sum over clusters whose labels are dealt out at random, to small probabilities, without drawing.

Cluster g gets the labels of a cluster h that is drawn at random and adds ``A[g, h]`` to the sum. The draws are taken as
independent, given that the labels dealt out hold as many positives as the true ones (``sum of s[h]``): where a label is
constant within clusters this is sampling without replacement exactly. The tail is the conditional saddlepoint approximation,
whose error is relative: a few per cent at 1e-5, where a normal tail is off by a factor of ten.

Source: Skovgaard (1987), "Saddlepoint expansions for conditional distributions"; Robinson (1982) for permutation tests;
Lugannani and Rice (1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

_STEPS = 40
_HALVINGS = 30
_SHORTER, _LEAST_SHARE = 0.9, 1e-3
"""How far towards a sum without a saddlepoint one is looked for next, and where that ends."""


@dataclass(frozen=True)
class Sums:
    """Sums over clusters, one a column (c), of what each of G clusters adds with each of J kinds of labels.

    Attributes:
        parts: ``[c, G, J]``: what cluster g adds with labels of kind j.
        share: ``[G, J]``: the share of positives of those labels.
        weight: ``[G, J]``: how likely each kind is for each cluster; they sum to 1.
    """

    parts: Float[np.ndarray, "c G J"]
    share: Float[np.ndarray, "G J"]
    weight: Float[np.ndarray, "G J"]

    def cumulants(self) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """Mean, standard deviation and skewness of each sum, given the number of positives; each ``[c]``."""
        mean = np.einsum("cgj,gj->cg", self.parts, self.weight)
        centred = self.parts - mean[..., None]
        share = self.share - (self.share * self.weight).sum(1, keepdims=True)
        of_share = float((np.square(share) * self.weight).sum())
        slope = np.einsum("cgj,gj->c", centred, share * self.weight) / of_share if of_share > 0 else np.zeros(len(mean))
        # Given the number of positives, what a part adds beyond its positives is what varies.
        centred -= slope[:, None, None] * share
        variance = np.einsum("cgj,gj->c", np.square(centred), self.weight)
        third = np.einsum("cgj,gj->c", centred**3, self.weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean.sum(1), np.sqrt(variance), np.where(variance > 0, third / variance**1.5, 0.0)

    def at(self, tilt: Float[np.ndarray, " c"], lift: Float[np.ndarray, " c"]) -> _Moments:
        """The cumulant generating function and its derivatives, by the sum (tilt) and by the number of positives (lift)."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.weight)
        exponent = tilt[:, None, None] * self.parts + lift[:, None, None] * self.share + logs
        top = exponent.max(-1, keepdims=True)
        chance = np.exp(exponent - top)
        total = chance.sum(-1, keepdims=True)
        value = (np.log(total) + top)[..., 0].sum(1)
        chance /= total
        a = np.einsum("cgj,cgj->cg", chance, self.parts)
        b = np.einsum("cgj,gj->cg", chance, self.share)
        aa = np.einsum("cgj,cgj,cgj->c", chance, self.parts, self.parts) - np.square(a).sum(1)
        ab = np.einsum("cgj,cgj,gj->c", chance, self.parts, self.share) - (a * b).sum(1)
        bb = np.einsum("cgj,gj,gj->c", chance, self.share, self.share) - np.square(b).sum(1)
        return _Moments(value, a.sum(1), b.sum(1), np.maximum(aa, 0), ab, np.maximum(bb, 0))


@dataclass(frozen=True)
class _Moments:
    value: Float[np.ndarray, " c"]
    first: Float[np.ndarray, " c"]
    positives: Float[np.ndarray, " c"]
    variance: Float[np.ndarray, " c"]
    covariance: Float[np.ndarray, " c"]
    of_positives: Float[np.ndarray, " c"]

    def only(self, columns: np.ndarray) -> _Moments:
        """Those of some columns."""
        return _Moments(*(value[columns] for value in vars(self).values()))

    def determinant(self) -> Float[np.ndarray, " c"]:
        """Of the second derivatives, over that of the positives: the variance of the sum given their number."""
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(self.of_positives > 0, np.square(self.covariance) / self.of_positives, 0.0)
        return np.maximum(self.variance - explained, 0.0)


def upper_tail(sums: Sums, observed: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """Probability that each sum is at least as large as the one observed, given the number of positives.

    Args:
        sums: What the clusters add.
        observed: ``[c]``.

    Returns:
        ``[c]`` in 0 to 1; 1 where the sum cannot vary. Where no labels with that number of positives give so large a sum, there
        is no saddlepoint, and it is the tail of the largest sum on the way there that has one: an upper bound.
    """
    count = len(observed)
    start = sums.at(np.zeros(count), np.zeros(count))
    spread = np.sqrt(start.determinant())
    varies = spread > 1e-9 * np.abs(sums.parts).max(initial=0) + 1e-300
    central = np.abs(observed - start.first) < 1e-3 * spread
    # At the largest sum that can be the saddlepoint lies at infinity; just below it the tail is the same.
    most = np.where(sums.weight > 0, sums.parts, -np.inf).max(-1).sum(1)
    target = np.minimum(observed, start.first + (most - start.first) * (1 - 1e-6))
    search = np.flatnonzero(varies & ~central)
    tail = np.where(varies, 0.5, 1.0)
    if len(search):
        middle, share = start.first, 1.0
        while len(search) and share > _LEAST_SHARE:
            part = Sums(sums.parts[search], sums.share, sums.weight)
            found = _tail(part, middle[search] + share * (target[search] - middle[search]), start.only(search))
            tail[search] = np.where(np.isnan(found), tail[search], found)
            search, share = search[np.isnan(found)], share * _SHORTER
    return tail


def _tail(sums: Sums, target: Float[np.ndarray, " c"], start: _Moments) -> Float[np.ndarray, " c"]:
    tilt, lift, end, ended = _saddlepoint(sums, target, start)
    drop = end.value - start.value - tilt * target - lift * start.positives
    w = np.sign(tilt) * np.sqrt(np.maximum(-2 * drop, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(start.of_positives > 0, end.of_positives / start.of_positives, 1.0)
        tail = norm.sf(w) + norm.pdf(w) * (1 / (tilt * np.sqrt(end.determinant() * ratio)) - 1 / w)
    return np.where(ended, np.clip(tail, 0, 1), np.nan)


def _saddlepoint(
    sums: Sums, target: Float[np.ndarray, " c"], start: _Moments
) -> tuple[np.ndarray, np.ndarray, _Moments, np.ndarray]:
    """Where the derivatives are the target and the positives: Newton's method on a convex function, with halved steps."""
    tilt, lift, at = np.zeros(len(target)), np.zeros(len(target)), start
    spread = np.sqrt(start.determinant())
    goal = at.value - tilt * target - lift * start.positives
    for _ in range(_STEPS):
        by_tilt, by_lift = at.first - target, at.positives - start.positives
        ended = (np.abs(by_tilt) < 1e-6 * spread) & (np.abs(by_lift) < 1e-6 * np.sqrt(start.of_positives) + 1e-12)
        if ended.all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(at.of_positives > 0, at.covariance / at.of_positives, 0.0)
            own = np.where(at.of_positives > 0, by_lift / at.of_positives, 0.0)
            move = -(by_tilt - slope * by_lift) / np.maximum(at.determinant(), 1e-12 * spread**2)
        other = -own - slope * move
        step = np.where(ended, 0.0, 1.0)
        for _ in range(_HALVINGS):
            after = sums.at(tilt + step * move, lift + step * other)
            value = after.value - (tilt + step * move) * target - (lift + step * other) * start.positives
            worse = ~(value <= goal + 1e-12 * np.abs(goal) + 1e-12)
            if not worse.any():
                break
            step = np.where(worse, step / 2, step)
        tilt, lift, at, goal = tilt + step * move, lift + step * other, after, value
    return tilt, lift, at, ended
