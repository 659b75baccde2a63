"""TCAV scores with a set-level null (Kim et al., 2018, "Quantitative testing with concept activation vectors")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm
from torch import Tensor

from analyses.concept_activation.vectors import Vectors


@dataclass(frozen=True)
class Scores:
    """Scores of concepts (c) for classes (q).

    Attributes:
        classes: One a column.
        share: ``[c, q]``: share of inputs with a positive derivative.
        low: ``[c, q]``: Wilson's interval over inputs.
        high: ``[c, q]``.
        reach: ``[q]``: 95th percentile of the random sets' distance from one half.
        magnitude: ``[c, q]``: mean derivative along the unit vector.
        magnitude_reach: ``[q]``: 95th percentile of its absolute value among the random sets.
        p: ``[c, q]``: rank of the concept's distance from one half among the random sets'.
        counts: ``[q]``: inputs.
    """

    classes: list[str]
    share: Float[np.ndarray, "c q"]
    low: Float[np.ndarray, "c q"]
    high: Float[np.ndarray, "c q"]
    reach: Float[np.ndarray, "q"]
    magnitude: Float[np.ndarray, "c q"]
    magnitude_reach: Float[np.ndarray, "q"]
    p: Float[np.ndarray, "c q"]
    counts: Int[np.ndarray, "q"]


def score(vectors: Vectors, gradients: dict[str, Float[Tensor, "e d"]]) -> Scores:
    """Score every vector on every class's gradients.

    Args:
        vectors: Of one site.
        gradients: ``{class: [e, d]}``: gradients of the class's logit, summed over positions.
    """
    classes = list(gradients)
    share, magnitude = _derivatives(vectors.weights, gradients)
    null_share, null_magnitude = _derivatives(vectors.random, gradients)
    distance, null = np.abs(share - 0.5), np.abs(null_share - 0.5)
    at_least = (null[None] >= distance[:, None] - 1e-12).sum(1)
    counts = np.array([len(gradients[c]) for c in classes])
    low, high = wilson(share, counts)
    return Scores(
        classes,
        share,
        low,
        high,
        np.quantile(null, 0.95, axis=0),
        magnitude,
        np.quantile(np.abs(null_magnitude), 0.95, axis=0),
        (1 + at_least) / (1 + len(null)),
        counts,
    )


def wilson(share: Float[np.ndarray, "c q"], counts: Int[np.ndarray, "q"]) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95% interval of a share (Wilson, 1927)."""
    z = norm.ppf(0.975)
    centre = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z / (1 + z**2 / counts) * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return centre - half, centre + half


def _derivatives(
    weights: Float[np.ndarray, "c d"], gradients: dict[str, Float[Tensor, "e d"]]
) -> tuple[Float[np.ndarray, "c q"], Float[np.ndarray, "c q"]]:
    unit = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    products = [grads.double().numpy() @ unit.T for grads in gradients.values()]
    share = np.stack([(p > 0).mean(0) for p in products], axis=1)
    return share, np.stack([p.mean(0) for p in products], axis=1)
