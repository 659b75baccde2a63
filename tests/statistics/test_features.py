import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from probes import LogisticProbe, estimate_directions, random_direction_accuracy
from workbench.statistics.features import constant_features, feature_scales


def rows(faint: float = 1.7e-8):
    """Activations of deviation .3 with one feature that is rounding alone, one that is constant, and a label."""
    rng = np.random.default_rng(0)
    x = 0.3 * rng.normal(size=(600, 12))
    y = (rng.random((600, 3)) < 0.4).astype(float)
    x[:, :3] += 0.3 * y
    x[:, 10] = faint * rng.normal(size=600) + 1e-7
    x[:, 11] = 0.7
    return x.astype(np.float32), y


def test_rounding_beside_ordinary_features_is_constant_and_small_features_are_not() -> None:
    x, _ = rows()
    deviation, mean = x.std(axis=0, dtype=float), x.mean(axis=0, dtype=float)
    assert np.flatnonzero(constant_features(deviation, mean)).tolist() == [10, 11]
    # All features small, or a small one of a thousandth of the others: no rounding.
    assert np.flatnonzero(constant_features(deviation[:10] * 1e-9, mean[:10] * 1e-9)).size == 0
    assert not constant_features(np.array([0.3, 3e-4, 300.0]), np.zeros(3)).any()
    assert constant_features(np.zeros(3), np.ones(3)).all()
    scales = feature_scales(deviation, mean)
    np.testing.assert_allclose(scales[:10] * deviation[:10], 1)
    assert (scales[10:] == 0).all()


def test_a_large_mean_counts_by_the_precision_that_the_numbers_were_kept_in() -> None:
    deviation, mean = np.array([0.05, 1.0]), np.array([1e6, 0.0])
    assert constant_features(deviation, mean, np.float32).tolist() == [True, False]
    assert constant_features(deviation, mean, np.float64).tolist() == [False, False]


def test_no_estimator_takes_rounding_for_a_direction() -> None:
    x, y = rows()
    for method in ("logistic", "ridge", "svm", "pattern"):
        unit = estimate_directions(x, y, method).unit()
        assert np.abs(unit[:, 10]).max() < 0.01, method
        cosines = np.abs(unit @ unit.T)[np.triu_indices(3, 1)]
        assert cosines.max() < 0.5, method
    wide = torch.from_numpy(x)
    assert np.abs(LogisticProbe().fit(wide, y).coef_[:, 10]).max() == 0
    assert (random_direction_accuracy(x, y, x, y, k=20) >= 0.6).all()


def test_columns_that_know_the_same_few_rows_are_solved_on_them_alone_and_alike() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 6))
    y = np.full((500, 4), np.nan)
    few = rng.permutation(500)[:120]
    y[few, 0] = x[few, 0] + rng.normal(size=120) > 0
    y[few, 1] = x[few, 1] + rng.normal(size=120) > 0
    y[:, 2] = x[:, 2] + rng.normal(size=500) > 0
    y[:300, 3] = x[:300, 3] + rng.normal(size=300) > 0
    found = LogisticProbe(C=1.0, tol=1e-7).fit(x, y)
    z = (x - x.mean(0)) / x.std(0)
    for column in range(4):
        known = ~np.isnan(y[:, column])
        peer = LogisticRegression(C=1.0, tol=1e-10).fit(z[known], y[known, column])
        np.testing.assert_allclose(found.coef_[column] * x.std(0), peer.coef_[0], atol=2e-3)
