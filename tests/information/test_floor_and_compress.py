from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA

from analyses.information.compress import PCACompressor
from analyses.information.estimators import Estimate, gaussian_logdet, mixed_ksg, plugin_discrete, with_floor
from workbench.errors import ConfigError, DataError


def test_a_dependent_feature_stands_above_its_floor_and_an_independent_one_on_it() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    signal = rng.standard_normal(400) + 2 * y
    found = with_floor(partial(mixed_ksg, k=4), signal, y, permutations=20, seed=1)
    assert found.above_floor
    assert abs(found.floor) < 0.03
    assert found.k == 4
    assert found == with_floor(partial(mixed_ksg, k=4), signal, y, permutations=20, seed=1)
    noise = with_floor(mixed_ksg, rng.standard_normal(400), y, permutations=40)
    assert abs(noise.value - noise.floor) < 0.1


def test_the_floor_shows_the_bias_of_an_estimator() -> None:
    rng = np.random.default_rng(0)
    found = with_floor(partial(plugin_discrete, correct=False), rng.integers(0, 30, 200), rng.integers(0, 5, 200))
    assert found.floor > 0.2
    assert found.value == pytest.approx(found.floor, abs=0.1)


def test_permuting_examples_keeps_the_floor_that_repetition_builds() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 30)
    X = rng.standard_normal(20)[clusters] + 0.01 * rng.standard_normal(600)
    y = rng.integers(0, 2, 20)[clusters]
    by_row = with_floor(mixed_ksg, X, y, permutations=10)
    by_example = with_floor(mixed_ksg, X, y, permutations=10, clusters=clusters)
    # Twenty examples tell any labels apart: rows alone would call that information.
    assert by_row.above_floor
    assert by_example.floor > 0.4
    assert not by_example.value > by_example.floor_high + 0.1


def test_labels_that_vary_inside_examples_keep_their_runs() -> None:
    seen: list[np.ndarray] = []

    def spy(X: np.ndarray, y: np.ndarray) -> Estimate:
        seen.append(y)
        return Estimate(0.0, "point", len(X))

    clusters = np.repeat(np.arange(30), 10)
    y = np.tile([0] * 5 + [1] * 5, 30)
    y[::10] = 2
    with_floor(spy, np.zeros(300), y, permutations=5, clusters=clusters)
    for dealt in seen:
        np.testing.assert_array_equal(dealt, y)
    labels = np.random.default_rng(0).integers(0, 3, 300)
    seen.clear()
    with_floor(spy, np.zeros(300), labels, permutations=5, clusters=clusters)
    blocks = {tuple(block) for block in labels.reshape(30, 10)}
    for dealt in seen[1:]:
        assert {tuple(block) for block in dealt.reshape(30, 10)} == blocks
        assert (dealt != labels).any()


def test_a_floor_works_for_continuous_targets() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    found = with_floor(gaussian_logdet, X, X[:, :2] + rng.standard_normal((300, 2)))
    assert found.above_floor
    assert abs(found.floor) < 0.02


def test_wrong_floors_are_refused() -> None:
    y = np.array([0, 1, 0, 1])
    with pytest.raises(ConfigError, match="at least 2"):
        with_floor(plugin_discrete, y, y, permutations=1)
    with pytest.raises(DataError, match="one label a row"):
        with_floor(plugin_discrete, y, y[:2])
    with pytest.raises(DataError, match="at least two"):
        with_floor(plugin_discrete, y, y, clusters=np.zeros(4))
    with pytest.raises(DataError, match="one a row"):
        with_floor(plugin_discrete, y, y, clusters=np.zeros(3))


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
    assert added.std() == pytest.approx(noisy.noise_deviation_, rel=0.03)
    assert noisy.noise_deviation_ == pytest.approx(0.5 * np.sqrt((clean.deviations_**2).mean()))
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
