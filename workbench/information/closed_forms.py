"""Distributions whose mutual information is known, in bits, to test the estimators on."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from workbench.errors import ConfigError


def gaussian_information(rho: float, dimension: int = 1) -> float:
    """Information in bits of ``dimension`` independent pairs of Gaussians with correlation rho: -d/2 log2(1
    - rho^2).

    Raises:
        ConfigError: for |rho| of 1 or more.

    Source: Gelfand and Yaglom (1957).
    """
    if not abs(rho) < 1:
        raise ConfigError(f"A correlation of {rho} gives infinite information: choose one between -1 and 1.")
    return float(-dimension / 2 * np.log1p(-(rho**2)) / np.log(2))


def gaussian_correlation(bits: float, dimension: int = 1) -> float:
    """Correlation at which ``dimension`` Gaussian pairs share ``bits``."""
    return float(np.sqrt(-np.expm1(-2 * bits * np.log(2) / dimension)))


def uniform_noise_information(a: float) -> float:
    """Information in bits between X uniform on [0, a] and X + noise uniform on [0, 1].

    In nats it is 1 / (2 a) + log a for a above 1, and a / 2 up to 1. (The sum has a trapezoid for a density.)

    Raises:
        ConfigError: for a of 0 or less.
    """
    if not a > 0:
        raise ConfigError(f"The width is {a}: it must be positive.")
    return float((1 / (2 * a) + np.log(a) if a > 1 else a / 2) / np.log(2))


def mixture_information(distance: float, share: float = 0.5) -> float:
    """Information in bits between a 0/1 label and a Gaussian of deviation 1 whose mean moves by
    ``distance`` with the label.

    Computed by numerical integration to about 1e-9.

    Args:
        distance: between the two means, in deviations.
        share: probability of label 1.

    Raises:
        ConfigError: for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ConfigError(f"The share is {share}: it lies between 0 and 1.")

    def integrand(x: float, mean: float, weight: float) -> float:
        own = norm.logpdf(x, mean)
        both = logsumexp([norm.logpdf(x), norm.logpdf(x, distance)], b=[1 - share, share])
        return float(weight * np.exp(own) * (own - both))

    parts = [
        quad(integrand, mean - 12, mean + 12, args=(mean, weight), points=[mean], epsabs=1e-11)[0]
        for mean, weight in ((0.0, 1 - share), (distance, share))
    ]
    return float(sum(parts) / np.log(2))
