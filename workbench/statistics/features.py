"""Which features of activations vary too little to be divided by their deviation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

FAINT = 1e-5
"""The share of the typical deviation below which a feature holds errors of rounding alone."""


def constant_features(
    std: Float[np.ndarray, " d"],
    mean: Float[np.ndarray, " d"],
    dtype: np.dtype | type = np.float32,
    one_unit: bool = True,
) -> Bool[np.ndarray, " d"]:
    """Features that count as constant: what they vary by is an error of rounding.

    Standardising divides a feature by its deviation. Where that is an error of rounding (1.7e-8 beside a median of .3, in the
    last layer of a sentence encoder), every direction that is fitted becomes this one coordinate.

    A feature is constant where its deviation is at most

    - `FAINT` of the median deviation of the features that vary at all: sums of hundreds of float32 products are off by some 1e-6
      of what is summed, whatever is left of them; or
    - twice the precision of ``dtype`` times its own mean: two numbers that lie next to each other.

    Args:
        std: ``[d]`` standard deviations.
        mean: ``[d]``.
        dtype: In which the activations were kept.
        one_unit: Whether all features are in one unit, as the coordinates of an activation are; else each is judged by itself.
    """
    std, mean = np.asarray(std, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    # Sums of float64 numbers are themselves off by more than their last digit.
    precision = max(2 * float(np.finfo(dtype).eps), 1e-12)
    still = std <= precision * np.abs(mean) + np.finfo(np.float64).tiny
    if still.all() or not one_unit:
        return still
    return still | (std <= FAINT * np.median(std[~still]))


def feature_scales(
    std: Float[np.ndarray, " d"], mean: Float[np.ndarray, " d"], dtype: np.dtype | type = np.float32
) -> Float[np.ndarray, " d"]:
    """What to multiply each feature by so that its deviation is 1; 0 for a constant one (see :func:`constant_features`)."""
    constant = constant_features(std, mean, dtype)
    return np.where(constant, 0.0, 1 / np.where(constant, 1.0, std))
