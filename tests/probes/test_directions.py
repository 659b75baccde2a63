from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from probes import estimate_directions
from workbench.errors import ConfigError, DataError, UnknownNameError

METHODS = ["logistic", "ridge", "mean_difference", "pattern", "svm"]


def planted(seed: int, n: int = 2000, d: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A label moves rows along a direction; strong noise of its own lies at cosine .55 to it."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((d, 2)))[0].T
    direction = axes[0]
    distractor = 0.55 * axes[0] + np.sqrt(1 - 0.55**2) * axes[1]
    label = (rng.random(n) < 0.5).astype(float)
    X = 2 * label[:, None] * direction + rng.standard_normal(n)[:, None] * 2 * distractor
    return X + 0.8 * rng.standard_normal((n, d)), label, direction


def test_a_pattern_keeps_the_planted_direction_where_filters_turn_away_from_the_distractor() -> None:
    found = {method: [] for method in METHODS}
    for seed in range(5):
        X, label, direction = planted(seed)
        for method in METHODS:
            unit = estimate_directions(X, label, method).unit()[0]
            found[method].append(unit @ direction)
    cosine = {method: float(np.mean(values)) for method, values in found.items()}
    assert cosine["pattern"] > 0.97
    assert cosine["mean_difference"] == pytest.approx(cosine["pattern"])
    for method in ("logistic", "ridge", "svm"):
        assert 0.75 < cosine[method] < 0.9, cosine


@pytest.mark.parametrize("method", METHODS)
def test_every_method_separates_and_scores_where_its_threshold_lies(method: str) -> None:
    X, label, _ = planted(0)
    many = np.stack([label, 1 - label], axis=1)
    found = estimate_directions(X + 100, many, method)  # type: ignore[arg-type]
    accuracy = ((found.scores(X + 100) > 0) == many).mean(axis=0)
    assert (accuracy > 0.65).all()
    np.testing.assert_allclose(found.weights[0], -found.weights[1], rtol=1e-2, atol=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_labels_are_left_out(method: str) -> None:
    X, label, _ = planted(1, n=400)
    holes = np.stack([label, label], axis=1)
    holes[300:, 1] = np.nan
    found = estimate_directions(X, holes, method)  # type: ignore[arg-type]
    part = estimate_directions(X[:300], label[:300], method)  # type: ignore[arg-type]
    cosine = found.unit()[1] @ part.unit()[0]
    assert cosine > 0.999


def test_a_pattern_is_the_normalised_covariance() -> None:
    X, label, _ = planted(2)
    expected = ((X - X.mean(0)) * (label - label.mean())[:, None]).mean(0) / label.var()
    found = estimate_directions(X, label, "pattern").weights[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-9)
    np.testing.assert_allclose(estimate_directions(X, label, "mean_difference").weights[0], expected, rtol=1e-9)


def test_ridge_agrees_with_sklearn() -> None:
    X, label, _ = planted(3)
    scaler = StandardScaler().fit(X)
    peer = Ridge(alpha=5.0).fit(scaler.transform(X), 2 * label - 1)
    found = estimate_directions(X, label, "ridge", alpha=5.0)
    np.testing.assert_allclose(found.weights[0] * scaler.scale_, peer.coef_, rtol=1e-5)
    np.testing.assert_allclose(found.scores(X)[:, 0], peer.predict(scaler.transform(X)), atol=1e-6)


def test_a_label_that_changes_nothing_has_a_zero_pattern_not_nan() -> None:
    found = estimate_directions(np.ones((4, 3)), np.array([0, 1, 0, 1]), "pattern")
    assert (found.weights == 0).all()
    assert (found.unit() == 0).all()


def test_wrong_input_says_what_to_do() -> None:
    X, label, _ = planted(0, n=20)
    with pytest.raises(UnknownNameError, match="mean_difference"):
        estimate_directions(X, label, "means")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"Label 0 \('colour'\) has no negative row"):
        estimate_directions(X, np.ones((20, 1)), "pattern", names=["colour"])
    with pytest.raises(DataError, match="do not fit"):
        estimate_directions(X, label[:5], "pattern")
    with pytest.raises(DataError, match="nan or infinity"):
        estimate_directions(np.full((20, 3), np.nan), label, "pattern")
    with pytest.raises(ConfigError, match="alpha"):
        estimate_directions(X, label, "ridge", alpha=-1)
    with pytest.raises(ConfigError, match="C is"):
        estimate_directions(X, label, "svm", C=0)


def test_pattern_is_robust_to_a_distractor_that_is_independent_of_the_label_and_not_to_one_that_follows_it() -> None:
    """What the description of the option says of the estimators."""
    rng = np.random.default_rng(0)
    n, width = 4000, 24
    label = (rng.random(n) < 0.5).astype(float)
    planted, away = np.linalg.qr(rng.normal(size=(width, 2)))[0].T

    def cosine(method: str, follows: float) -> float:
        distractor = follows * (2 * label - 1) + np.sqrt(1 - follows**2) * np.random.default_rng(1).normal(size=n)
        noise = np.random.default_rng(2).normal(size=(n, width))
        x = noise + 2 * label[:, None] * planted + 1.5 * distractor[:, None] * away
        return abs(float(estimate_directions(x, label, method).unit()[0] @ planted))

    assert cosine("pattern", 0.0) > 0.98
    assert cosine("mean_difference", 0.0) > 0.98
    for follows in (0.5, 0.8):
        assert cosine("pattern", follows) < 0.85
        assert cosine("logistic", follows) > cosine("pattern", follows) + 0.02
