from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigError, DataError
from workbench.information import (
    Estimate,
    apply_bins,
    classifier_bound,
    equal_count_bins,
    gaussian_logdet,
    ksg,
    mixed_ksg,
    plugin_discrete,
)
from workbench.information.closed_forms import (
    gaussian_correlation,
    gaussian_information,
    mixture_information,
    uniform_noise_information,
)


def gaussian_pairs(n: int, rho: float, dimension: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, dimension))
    return X, rho * X + np.sqrt(1 - rho**2) * rng.standard_normal((n, dimension))


def mixture(n: int, distance: float, share: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return rng.standard_normal(n) + distance * y, y


# Closed forms


def test_closed_forms_agree_with_each_other() -> None:
    assert gaussian_information(gaussian_correlation(1.5, 3), 3) == pytest.approx(1.5)
    assert uniform_noise_information(1.0) == pytest.approx(0.5 / np.log(2))
    assert uniform_noise_information(1 + 1e-9) == pytest.approx(uniform_noise_information(1.0))
    assert mixture_information(0.0) == pytest.approx(0, abs=1e-9)
    assert mixture_information(20.0, 0.25) == pytest.approx(0.811278, abs=1e-5)
    # For a small distance the information is share (1 - share) distance^2 / 2 nats.
    assert mixture_information(0.01, 0.3) == pytest.approx(0.21 * 1e-4 / 2 / np.log(2), rel=1e-3)


def test_impossible_parameters_are_refused() -> None:
    for wrong in (
        lambda: gaussian_information(1.0),
        lambda: uniform_noise_information(0),
        lambda: mixture_information(1, 1),
    ):
        with pytest.raises(ConfigError):
            wrong()


# Nearest neighbours


@pytest.mark.parametrize(("dimension", "rho"), [(1, 0.0), (1, 0.6), (1, 0.9), (2, 0.5)])
def test_ksg_finds_the_information_of_gaussians(dimension: int, rho: float) -> None:
    found = ksg(*gaussian_pairs(10_000, rho, dimension), k=3)
    assert found.value == pytest.approx(gaussian_information(rho, dimension), abs=0.05)
    assert found.unit == "bits"
    assert found.k == 3


@pytest.mark.parametrize("a", [0.5, 1.0, 4.0])
def test_ksg_finds_the_information_of_uniform_noise(a: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.uniform(0, a, 8000)
    found = ksg(X, X + rng.uniform(0, 1, 8000), k=4)
    assert found.value == pytest.approx(uniform_noise_information(a), abs=0.06)


@pytest.mark.parametrize(("distance", "share"), [(0.0, 0.5), (1.0, 0.5), (2.0, 0.2), (6.0, 0.5)])
def test_mixed_ksg_finds_the_information_of_a_mixture(distance: float, share: float) -> None:
    found = mixed_ksg(*mixture(6000, distance, share))
    assert found.value == pytest.approx(mixture_information(distance, share), abs=0.04)


def test_mixed_ksg_agrees_with_sklearn_in_one_dimension() -> None:
    from sklearn.feature_selection import mutual_info_classif

    X, y = mixture(1000, 1.5)
    peer = mutual_info_classif(X[:, None], y, n_neighbors=3, random_state=0)[0] / np.log(2)
    assert mixed_ksg(X, y, k=3).value == pytest.approx(peer, abs=1e-6)


def test_independent_variables_share_nothing_and_negative_estimates_are_kept() -> None:
    continuous = [ksg(*gaussian_pairs(400, 0.0, seed=seed)).value for seed in range(30)]
    discrete = [mixed_ksg(*mixture(400, 0.0, seed=seed)).value for seed in range(30)]
    for values in (continuous, discrete):
        assert np.mean(values) == pytest.approx(0, abs=0.02)
        assert min(values) < 0


def test_the_standard_error_is_of_the_right_size() -> None:
    found = [mixed_ksg(*mixture(800, 1.5, seed=seed)) for seed in range(40)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.5)


@given(st.floats(-6, 6), st.floats(-1e3, 1e3), st.integers(0, 5))
@settings(max_examples=25)
def test_scale_and_origin_of_a_feature_do_not_matter(power: float, origin: float, seed: int) -> None:
    X, Y = gaussian_pairs(300, 0.7, 2, seed)
    y = (Y[:, 0] > 0).astype(int)
    scale = 10.0**power
    moved = X * np.array([scale, 1.0]) + np.array([scale * origin, 0.0])
    assert mixed_ksg(moved, y).value == pytest.approx(mixed_ksg(X, y).value, abs=5e-3)
    assert ksg(moved, Y).value == pytest.approx(ksg(X, Y).value, abs=5e-3)
    assert gaussian_logdet(moved, Y).value == pytest.approx(gaussian_logdet(X, Y).value, abs=1e-5)


def test_a_constant_feature_adds_nothing() -> None:
    X, y = mixture(500, 1.0)
    wide = np.stack([X, np.full(500, 7.3), np.full(500, 0.1) + 0.2], axis=1)
    found = mixed_ksg(wide, y)
    assert found.value == mixed_ksg(X, y).value
    assert "2 constant features of X dropped" in found.note
    assert mixed_ksg(wide[:, 1:], y).value == 0
    assert ksg(wide[:, 1:], X).value == 0
    assert gaussian_logdet(wide[:, 1:], X).value == 0


def test_repeated_rows_do_not_break_neighbours_and_are_mentioned() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, 1000).astype(float)
    found = mixed_ksg(X, rng.integers(0, 2, 1000))
    assert np.isfinite(found.value)
    assert "repeat another" in found.note


def test_rare_labels_use_what_they_have() -> None:
    X, y = mixture(300, 3.0)
    y[:2], y[2] = 7, 8
    found = mixed_ksg(X, y, k=3)
    assert found.n == 299
    assert "occurs once" in found.note
    assert np.isfinite(found.value)


def test_neighbours_are_refused_where_they_mean_nothing() -> None:
    X, _ = gaussian_pairs(100, 0.5, 11)
    y = np.arange(100) % 2
    with pytest.raises(ConfigError, match="compress first"):
        mixed_ksg(X, y, k=5)
    with pytest.raises(ConfigError, match="compress first"):
        ksg(X[:, :6], X[:, 6:], k=5)
    with pytest.raises(ConfigError, match="use k=4"):
        mixed_ksg(X[:, :10], y, k=3)
    with pytest.raises(ConfigError, match="more than 3 rows"):
        ksg(X[:3, 0], X[:3, 1], k=3)
    with pytest.raises(DataError, match="No label occurs twice"):
        mixed_ksg(X[:, :2], np.arange(100))
    with pytest.raises(DataError, match="Labels hold nan"):
        mixed_ksg(X[:, :2], np.full(100, np.nan))
    with pytest.raises(DataError, match="nan or infinity"):
        mixed_ksg(np.full(100, np.inf), y)
    with pytest.raises(DataError, match="pairs of rows"):
        ksg(X[:50, 0], X[:, 1])


# Gaussian


@pytest.mark.parametrize(("dimension", "nats"), [(1, 2.0), (5, 1.0), (16, 2.3)])
def test_logdet_is_right_for_gaussians_in_any_dimension(dimension: int, nats: float) -> None:
    bits = nats / np.log(2)
    X, Y = gaussian_pairs(5000, gaussian_correlation(bits, dimension), dimension)
    found = gaussian_logdet(X, Y)
    assert found.value == pytest.approx(bits, abs=4 * found.standard_error + 0.01)


def test_logdet_has_no_bias_on_few_rows() -> None:
    found = [gaussian_logdet(*gaussian_pairs(60, 0.0, 8, seed)).value for seed in range(200)]
    # Without the correction this would be about .8 bits.
    assert np.mean(found) == pytest.approx(0, abs=0.06)
    assert min(found) < 0


def test_repeated_features_count_once() -> None:
    X, Y = gaussian_pairs(500, 0.5, 2)
    doubled = np.concatenate([X, X @ np.array([[1.0], [2.0]])], axis=1)
    assert gaussian_logdet(doubled, Y).value == pytest.approx(gaussian_logdet(X, Y).value)
    with pytest.raises(DataError, match="infinite"):
        gaussian_logdet(doubled, X[:, :1])
    with pytest.raises(DataError, match="too few"):
        gaussian_logdet(X[:5], Y[:5])


# Discrete


def test_the_plug_in_is_exact_on_a_contingency_table() -> None:
    table = np.array([[30, 10], [5, 55]])
    codes, y = (np.repeat(np.indices((2, 2))[axis].ravel(), table.ravel()) for axis in (0, 1))
    joint = table / 100
    exact = (joint * np.log2(joint / np.outer(joint.sum(1), joint.sum(0)))).sum()
    assert plugin_discrete(codes, y, correct=False).value == pytest.approx(exact)
    corrected = plugin_discrete(codes, y).value
    assert corrected == pytest.approx(exact + (2 + 2 - 4 - 1) / 200 / np.log(2))
    assert plugin_discrete(np.stack([codes, codes], axis=1), y).value == pytest.approx(corrected)
    assert plugin_discrete(codes.astype(str), y).value == pytest.approx(corrected)


def test_miller_madow_removes_most_of_the_bias() -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.integers(0, 10, 400), rng.integers(0, 4, 400)) for _ in range(50)]
    plain = np.mean([plugin_discrete(a, b, correct=False).value for a, b in draws])
    corrected = np.mean([plugin_discrete(a, b).value for a, b in draws])
    assert plain > 0.03
    assert abs(corrected) < 0.01


def test_bins_hold_equal_counts_of_distinct_values() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal(900)
    relu = np.maximum(dense, 0)
    few = np.tile([3.0, 1.0, 2.0], 300)
    codes, edges = equal_count_bins(np.stack([dense, relu, few], axis=1), bins=30)
    assert np.bincount(codes[:, 0]).tolist() == [30] * 30
    assert np.bincount(codes[:, 1])[0] >= (relu == 0).sum()
    assert np.unique(codes[:, 1]).size == 30
    assert np.unique(codes[:, 2]).size == 3
    np.testing.assert_array_equal(codes, apply_bins(np.stack([dense, relu, few], axis=1), edges))
    assert apply_bins(np.array([[-1e9, 0, 0], [1e9, 0, 9]]), edges)[:, 0].tolist() == [0, 29]
    with pytest.raises(ConfigError, match="at least 2"):
        equal_count_bins(dense, bins=1)
    with pytest.raises(DataError, match="same features"):
        apply_bins(dense, edges)


# Classifier bound


def test_a_perfect_classifier_reads_the_whole_entropy_and_an_ignorant_one_nothing() -> None:
    y = np.array([0, 1, 1, 1] * 50)
    entropy = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    certain = np.log(np.where(np.eye(2)[y] == 1, 1 - 1e-9, 1e-9))
    assert classifier_bound(certain, y).value == pytest.approx(entropy)
    rates = np.log(np.tile([0.25, 0.75], (200, 1)))
    assert classifier_bound(rates, y).value == pytest.approx(0, abs=1e-12)
    assert classifier_bound(certain[:, ::-1], y).value < -10
    assert classifier_bound(rates, y).kind == "lower bound"


def test_the_true_posterior_attains_the_information_of_the_mixture() -> None:
    X, y = mixture(20_000, 2.0)
    odds = 2.0 * (X - 1.0)
    log_proba = np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1)
    found = classifier_bound(log_proba, y)
    assert found.value == pytest.approx(mixture_information(2.0), abs=3 * found.standard_error)
    wrong = classifier_bound(np.stack([-np.logaddexp(0, 3 * odds), -np.logaddexp(0, -3 * odds)], axis=1), y)
    assert wrong.value < found.value


def test_repeating_rows_within_examples_does_not_shrink_the_clustered_error() -> None:
    X, y = mixture(500, 1.0)
    odds = X - 0.5
    log_proba = np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1)
    once = classifier_bound(log_proba, y)
    repeated = classifier_bound(np.repeat(log_proba, 9, axis=0), np.repeat(y, 9), np.repeat(np.arange(500), 9))
    assert repeated.standard_error == pytest.approx(once.standard_error)


def test_probabilities_that_are_none_are_refused() -> None:
    y = np.array([0, 1])
    with pytest.raises(DataError, match="sum to 1"):
        classifier_bound(np.zeros((2, 2)), y)
    with pytest.raises(DataError, match="do not fit"):
        classifier_bound(np.zeros((3, 2)), y)
    with pytest.raises(DataError, match="0 to 1"):
        classifier_bound(np.log(np.full((2, 2), 0.5)), y + 1)
    with np.errstate(divide="ignore"), pytest.raises(DataError, match="probability 0"):
        classifier_bound(np.log(np.array([[0.0, 1], [0, 1]])), y)


def test_an_estimate_is_above_its_null_only_when_it_has_one() -> None:
    assert not Estimate(1.0, "point", 10).above_null
    assert Estimate(1.0, "point", 10, null=0.1, null_high=0.3).above_null
