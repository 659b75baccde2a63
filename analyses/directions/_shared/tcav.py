"""TCAV scores (Kim et al., 2018, "Quantitative testing with concept activation vectors"), and a test that does not saturate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import brentq
from scipy.stats import nct as noncentral
from scipy.stats import t as student
from torch import Tensor

from analyses.directions._shared.vectors import Vectors
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.correction import least_p
from workbench.statistics.few_draws import few_draws_p
from workbench.statistics.intervals import Interval, mean_interval, reach, share_interval
from workbench.statistics.nulls import t_tail_p, upper


@dataclass(frozen=True)
class Scores:
    """Scores of concepts (c) for classes (q).

    Attributes:
        classes: One a column.
        share: ``[c, q]``: share of inputs with a positive derivative along the vector.
        share_range: Its interval over the clusters of the inputs, each ``[c, q]``; nan for a class of fewer than eight.
        share_null: ``[c, q]``: mean share among the concept's random sets.
        magnitude: ``[c, q]``: mean derivative along the unit vector.
        magnitude_range: Its interval, in the same way.
        magnitude_null: ``[c, q]``: mean among the random sets.
        magnitude_high: ``[c, q]``: what the size of one more random set's would exceed at most one time in twenty.
        effect: ``[c, q]``: magnitude less that of the random sets, in their deviations.
        effect_high: The same percentile of the size of the effect: Student's t.
        p: ``[c, q]``: raw, two-sided; nan for a concept in too few clusters.
        least: ``[c, q]``: the p value of a vector that is the mean gradient itself; no vector can have a smaller one.
        counts: ``[q]``: inputs.
        clusters: ``[q]``: clusters of the inputs.
    """

    classes: list[str]
    share: Float[np.ndarray, "c q"]
    share_range: Interval
    share_null: Float[np.ndarray, "c q"]
    magnitude: Float[np.ndarray, "c q"]
    magnitude_range: Interval
    magnitude_null: Float[np.ndarray, "c q"]
    magnitude_high: Float[np.ndarray, "c q"]
    effect: Float[np.ndarray, "c q"]
    effect_high: float
    p: Float[np.ndarray, "c q"]
    least: Float[np.ndarray, "c q"]
    counts: Int[np.ndarray, "q"]
    clusters: Int[np.ndarray, "q"]


def score(
    vectors: Vectors, gradients: dict[str, Float[Tensor, "e d"]], clusters: dict[str, Shaped[np.ndarray, " e"]] | None = None
) -> Scores:
    """Score every vector on every class's gradients.

    The share of positive derivatives is the score of Kim et al. and of Captum (a derivative of 0 is not positive). It saturates:
    where the gradients of a class are alike, it is 0 or 1 for any vector. What is tested is therefore the mean derivative along
    the unit vector. The mean unit vector of a concept's random sets, the direction that they share, is subtracted from that of
    the concept and from theirs alike, which moves all their mean derivatives by one number; what is left is divided by the
    deviation among the random sets. As a prediction of one more random set, that is Student's t
    (`workbench.statistics.few_draws`).

    Args:
        vectors: Of one site.
        gradients: ``{class: [e, d]}``: gradients of the class's logit, summed over positions.
        clusters: ``{class: [e]}``: the document of each input; each is its own when left out.
    """
    classes = list(gradients)
    grads = [gradients[c].double().numpy() for c in classes]
    groups = [np.arange(len(g)) if clusters is None else np.asarray(clusters[c]) for c, g in zip(classes, grads, strict=True)]
    unit = _unit(vectors.weights)
    derivatives = [g @ unit.T for g in grads]
    share = np.stack([(d > 0).mean(axis=0) for d in derivatives], axis=1)
    magnitude = np.stack([d.mean(axis=0) for d in derivatives], axis=1)
    shares = [share_interval(d > 0, g) for d, g in zip(derivatives, groups, strict=True)]
    means = [mean_interval(d, g) for d, g in zip(derivatives, groups, strict=True)]
    documents = np.array([len(np.unique(g)) for g in groups])
    enough = documents >= ENOUGH
    mean_grads = np.stack([g.mean(axis=0) for g in grads], axis=1)
    null = np.empty((vectors.random.shape[1], *share.shape))
    share_null = np.empty(share.shape)
    for number, random in enumerate(vectors.random):
        drawn = _unit(random.astype(np.float64))
        null[:, number] = drawn @ mean_grads
        share_null[number] = [((g @ drawn.T) > 0).mean() for g in grads]
    p = np.maximum(few_draws_p(magnitude, null), 1 / vectors.arrangements[:, None])
    r, std = len(null), null.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = (magnitude - null.mean(axis=0)) / (std * np.sqrt(1 + 1 / r))
    length = np.linalg.norm(mean_grads, axis=0)
    least = np.minimum(
        t_tail_p(np.broadcast_to(length, share.shape), null), t_tail_p(np.broadcast_to(-length, share.shape), null)
    )
    return Scores(
        classes,
        share,
        _by_class(shares, enough),
        share_null,
        magnitude,
        _by_class(means, enough),
        null.mean(axis=0),
        upper(np.abs(null)),
        effect,
        float(reach(r - 1)),
        np.where(vectors.counts.enough[:, None], p, np.nan),
        np.maximum(least, 1 / vectors.arrangements[:, None]),
        np.array([len(g) for g in grads]),
        documents,
    )


def findable(tests: int, sets: int, power: float = 0.8) -> float:
    """The effect, in deviations of the random sets, that is found with some power where so many tests are corrected together.

    Args:
        tests: Of the family; the effect has to pass Holm's first step at .05.
        sets: Random sets a concept.
        power: Probability of finding it.

    The vector of the concept is taken for one of its random sets, moved by the effect: the statistic is noncentral t.
    """
    bound = _bound(tests, sets)

    def missing(centre: float) -> float:
        return float(noncentral.sf(bound, sets - 1, centre)) - power

    return float(brentq(missing, 0.0, 4 * bound + 10)) * float(np.sqrt(1 + 1 / sets))


def out_of_reach(tests: int, sets: int, width: int) -> bool:
    """Whether no corrected p value could reach .05, before anything is fitted.

    Random unit vectors that are spread evenly over d dimensions have mean derivatives with a deviation of ``|g| / sqrt(d)``, and
    no unit vector has one above ``|g|``: no effect is above the root of the width.
    """
    return _bound(tests, sets) > np.sqrt(width) / np.sqrt(1 + 1 / sets)


def _bound(tests: int, sets: int) -> float:
    return float(student.isf(least_p(tests) / 2, sets - 1))


def _by_class(ranges: list[Interval], enough: Bool[np.ndarray, "q"]) -> Interval:
    low, high = (np.stack([part[end] for part in ranges], axis=1) for end in (0, 1))
    return Interval(np.where(enough, low, np.nan), np.where(enough, high, np.nan))


def _unit(vectors: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
