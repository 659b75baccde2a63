from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA

from workbench.errors import ConfigError, DataError
from workbench.information import mixed_ksg
from workbench.information.compress import PCACompressor


def test_compression_is_pca_fitted_on_the_training_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12)) @ rng.standard_normal((12, 12)) + 5
    ours = PCACompressor(3).fit(X[:200])
    peer = PCA(3).fit(X[:200])
    np.testing.assert_allclose(np.abs(ours.transform(X[200:])), np.abs(peer.transform(X[200:])), rtol=1e-6)
    assert ours.explained_ == pytest.approx(peer.explained_variance_ratio_.sum())
    np.testing.assert_allclose(ours.components_ @ ours.components_.T, np.eye(3), atol=1e-10)
    assert clone(ours).get_params() == {"k": 3, "noise": 0.0, "seed": 0}


def test_noise_has_the_stated_size_and_the_same_seed_gives_it_again() -> None:
    X = np.random.default_rng(0).standard_normal((5000, 6)) * np.arange(1, 7)
    clean, noisy = PCACompressor(2).fit(X), PCACompressor(2, noise=0.5, seed=3).fit(X)
    added = noisy.transform(X) - clean.transform(X)
    assert added.std() == pytest.approx(noisy.noise_std_, rel=0.03)
    assert noisy.noise_std_ == pytest.approx(0.5 * np.sqrt((clean.std_**2).mean()))
    np.testing.assert_array_equal(noisy.transform(X), noisy.transform(X))


def test_compression_makes_neighbours_possible() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    X = rng.standard_normal((1000, 40)) + 3 * y[:, None] * np.eye(40)[0]
    with pytest.raises(ConfigError):
        mixed_ksg(X, y)
    compressed = PCACompressor(2).fit(X[:500]).transform(X[500:])
    assert mixed_ksg(compressed, y[500:]).value > 0.4


def test_impossible_compressions_are_refused() -> None:
    X = np.eye(4)
    for wrong in (PCACompressor(0), PCACompressor(5), PCACompressor(2, noise=-1)):
        with pytest.raises(ConfigError):
            wrong.fit(X)
    with pytest.raises(DataError, match="of the fit"):
        PCACompressor(2).fit(X).transform(X[:, :3])
