"""Compression before an estimator that needs few dimensions."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from workbench.errors import ConfigError, DataError
from workbench.information.estimate import read_features


class PCACompressor(TransformerMixin, BaseEstimator):
    """Keep the first k principal components, and optionally add noise.

    Information about a label can only fall (the data processing inequality), so an estimate after
    compression is of a lower bound. Fit it on training rows and apply it to held-out ones. A deterministic
    continuous network has infinite information with its input; noise makes it finite and then sets its
    size, so store the deviation with any value.

    Args:
        k: components, at least 1.
        noise: deviation of the Gaussian noise added to every component, as a multiple of the root mean
            square deviation of the kept components on the training rows; 0 adds none.
        seed: of the noise.

    Attributes:
        mean_: ``[d]``.
        components_: ``[k, d]``, orthonormal.
        std_: ``[k]`` of the training rows along each component, in the features' unit.
        explained_: share in [0, 1] of the variance that is kept.
        noise_std_: in the features' unit.

    Source: Goldfeld et al. (2019), "Estimating information flow in deep neural networks", for the noise;
    Butakov et al. (2024), "Information bottleneck analysis of deep neural networks via lossy compression",
    for the compression.
    """

    def __init__(self, k: int, *, noise: float = 0.0, seed: int = 0) -> None:
        self.k = k
        self.noise = noise
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of X ``[n, d]``; y is ignored.

        Raises:
            ConfigError: for k or noise out of range.
            DataError: for unusable X.
        """
        features = read_features(X)
        most = min(features.shape)
        if not 1 <= self.k <= most:
            raise ConfigError(f"k={self.k} components of X {features.shape}: choose 1 to {most}.")
        if not self.noise >= 0:
            raise ConfigError(f"noise is {self.noise}: it is a deviation, 0 or more.")
        self.mean_ = features.mean(axis=0)
        centred = features - self.mean_
        variances, vectors = np.linalg.eigh(centred.T @ centred / len(features))
        kept = np.maximum(variances[::-1][: self.k], 0)
        components = vectors.T[::-1][: self.k]
        # A component's sign is arbitrary; its largest entry is made positive so that reruns agree.
        largest = np.abs(components).argmax(axis=1)
        self.components_ = components * np.sign(components[np.arange(self.k), largest])[:, None]
        total = np.maximum(variances, 0).sum()
        self.std_ = np.sqrt(kept)
        self.explained_ = float(kept.sum() / total) if total > 0 else 1.0
        self.noise_std_ = self.noise * float(np.sqrt(kept.mean()))
        self.n_features_in_ = features.shape[1]
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """Compress rows ``[n, d]`` to ``[n, k]``; the noise depends on the seed and the number of rows.

        Raises:
            DataError: when X has another number of features.
        """
        check_is_fitted(self)
        features = read_features(X)
        if features.shape[1] != self.n_features_in_:
            raise DataError(f"X has {features.shape[1]} features, not the {self.n_features_in_} of the fit.")
        compressed = (features - self.mean_) @ self.components_.T
        if self.noise_std_ > 0:
            rng = np.random.default_rng(self.seed)
            compressed += self.noise_std_ * rng.standard_normal(compressed.shape)
        return compressed
