from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probes import LogisticProbe
from probes._labels import read_labels
from workbench.errors import ConfigError, DataError


@parametrize_with_checks([LogisticProbe(), LogisticProbe(C=0.1, balanced=True)])
def test_it_is_a_scikit_learn_classifier(estimator: LogisticProbe, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def activations(n: int = 800, d: int = 30, c: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of very different scales, far from 0, and labels at rates from .5 to .05."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) * np.logspace(1, -2, d)
    X = rng.standard_normal((n, d)) @ mixing
    logits = StandardScaler().fit_transform(X) @ rng.standard_normal((d, c)) / 3 - np.linspace(0, 3, c)
    return (X + 50).astype(np.float32), (rng.random((n, c)) < 1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("balanced", [False, True])
def test_it_agrees_with_sklearn_on_the_same_standardised_data(C: float, balanced: bool) -> None:
    X, Y = activations()
    probe = LogisticProbe(C=C, balanced=balanced).fit(X, Y)
    scaler = StandardScaler().fit(X.astype(np.float64))
    Z = scaler.transform(X.astype(np.float64))
    odds = probe.decision_function(X)
    for column in range(Y.shape[1]):
        peer = LogisticRegression(C=C, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=5000).fit(
            Z, Y[:, column]
        )
        ours = probe.coef_[column] * scaler.scale_
        assert np.linalg.norm(ours - peer.coef_[0]) < 1e-2 * np.linalg.norm(peer.coef_[0])
        peer_odds = peer.decision_function(Z)
        np.testing.assert_allclose(odds[:, column], peer_odds, atol=2e-2 * np.abs(peer_odds).max())
        theirs = roc_auc_score(Y[:, column], peer_odds)
        assert roc_auc_score(Y[:, column], odds[:, column]) == pytest.approx(theirs, abs=1e-3)


def test_an_unknown_label_leaves_the_row_out_of_that_column_alone() -> None:
    X, Y = activations(c=3)
    holes = Y.copy()
    holes[::3, 1] = np.nan
    together = LogisticProbe(tol=1e-6).fit(X, holes)
    alone = LogisticProbe(tol=1e-6).fit(X, Y[:, 0])
    np.testing.assert_allclose(together.coef_[0], alone.coef_[0], rtol=1e-3, atol=1e-4)
    known = ~np.isnan(holes[:, 1])
    scaler = StandardScaler().fit(X.astype(np.float64))
    peer = LogisticRegression(tol=1e-8, max_iter=5000)
    peer.fit(scaler.transform(X.astype(np.float64))[known], Y[known, 1])
    ours = together.coef_[1] * scaler.scale_
    assert np.linalg.norm(ours - peer.coef_[0]) < 1e-2 * np.linalg.norm(peer.coef_[0])


def test_rows_without_any_label_do_not_matter() -> None:
    X, Y = activations(c=1)
    label = Y[:, 0].copy()
    label[600:] = np.nan
    np.testing.assert_allclose(LogisticProbe().fit(X, label).coef_, LogisticProbe().fit(X[:600], label[:600]).coef_)


def test_columns_solved_in_blocks_equal_columns_solved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = activations()
    whole = LogisticProbe(tol=1e-6).fit(X, Y)
    monkeypatch.setattr("probes.logistic._BLOCK_CELLS", 1600)
    parts = LogisticProbe(tol=1e-6).fit(X, Y)
    np.testing.assert_allclose(whole.coef_, parts.coef_, rtol=1e-2, atol=1e-3)


def test_more_features_than_rows_constant_features_and_separable_classes_all_fit() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((40, 200))
    X[:, 7] = 1e6
    label = (X[:, 0] > 0).astype(int)
    for C in (1e-2, 1.0, 1e4):
        probe = LogisticProbe(C=C).fit(X, label)
        assert np.isfinite(probe.coef_).all()
        assert probe.coef_[0, 7] == 0
        assert probe.score(X, label) == 1
    # Scales that float32 could not hold.
    for scale in (1e50, 1e-50):
        assert LogisticProbe().fit(X[:, :5] * scale, label).score(X[:, :5] * scale, label) > 0.9


def test_width_above_the_rotation_limit_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = activations(c=2)
    turned = LogisticProbe(C=0.1).fit(X, Y)
    monkeypatch.setattr("probes._solver._ROTATE_UP_TO", 4)
    straight = LogisticProbe(C=0.1, max_iter=1000).fit(X, Y)
    np.testing.assert_allclose(turned.decision_function(X), straight.decision_function(X), atol=2e-2)


def test_outputs_have_the_shapes_of_their_labels() -> None:
    X, Y = activations(n=100, c=3)
    several = LogisticProbe().fit(X, Y)
    assert several.coef_.shape == (3, 30)
    assert several.intercept_.shape == (3,)
    assert several.predict(X).shape == several.predict_proba(X).shape == several.decision_function(X).shape == (100, 3)
    single = LogisticProbe().fit(torch.from_numpy(X), torch.from_numpy(Y[:, 0]))
    assert single.predict(X).shape == (100,)
    np.testing.assert_allclose(single.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(single.predict_log_proba(X)), single.predict_proba(X), rtol=1e-5)
    named = LogisticProbe().fit(X, np.where(Y[:, 0] == 1, "yes", "no"))
    assert set(named.predict(X)) <= {"no", "yes"}
    assert named.classes_[1] == "yes"


def test_score_is_the_mean_accuracy_over_known_cells() -> None:
    X, Y = activations(n=200, c=2)
    probe = LogisticProbe().fit(X, Y)
    holes = Y.copy()
    holes[50:, 1] = np.nan
    right = probe.predict(X) == Y
    np.testing.assert_allclose(probe.accuracies(X, holes), [right[:, 0].mean(), right[:50, 1].mean()])
    assert probe.score(X, holes) == pytest.approx(probe.accuracies(X, holes).mean())


def test_the_same_fit_twice_is_the_same() -> None:
    X, Y = activations()
    probe = LogisticProbe()
    np.testing.assert_array_equal(probe.fit(X, Y).coef_, clone(probe).fit(X, Y).coef_)


def test_errors_name_the_label() -> None:
    X, Y = activations(n=60, c=3)
    Y[:, 1] = 1
    with pytest.raises(DataError, match="Label 1 has no negative row"):
        LogisticProbe().fit(X, Y)
    with pytest.raises(DataError, match=r"Label 1 \('about money'\)"):
        LogisticProbe().fit(X, pd.DataFrame(Y, columns=["a", "about money", "c"]))
    Y[:, 1] = np.nan
    with pytest.raises(DataError, match=r"Label 1 \('<b>"):
        LogisticProbe().fit(X, Y, names=["a", "<b>" + "x" * 10**6, "c"])
    with pytest.raises(DataError, match="1, 0 and nan"):
        LogisticProbe().fit(X, Y + 5)
    with pytest.raises(DataError, match="name each"):
        LogisticProbe().fit(X, Y, names=["a"])
    for options in ({"C": 0}, {"max_iter": 0}, {"tol": 0}):
        with pytest.raises(ConfigError):
            LogisticProbe(**options).fit(X, Y)


def test_a_fit_that_stops_early_says_so() -> None:
    X, Y = activations()
    with pytest.warns(ConvergenceWarning, match="raise max_iter above 1"):
        LogisticProbe(max_iter=1).fit(X, Y)


@pytest.mark.slow
def test_ninety_labels_on_sixteen_thousand_rows_take_seconds() -> None:
    X, Y = activations(n=16384, d=384, c=90)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        start = time.perf_counter()
        probe = LogisticProbe().fit(X, Y)
    # One to two seconds on two idle cores; the bound leaves room for busy ones.
    assert time.perf_counter() - start < 60
    assert probe.n_iter_.max() <= 40


def test_long_integers_are_not_rounded_into_one_class():
    ids = np.array([2**60 + 1, 2**60] * 20, dtype=object)
    assert read_labels(ids).codes.ravel().tolist() == [1.0, 0.0] * 20
    with pytest.raises(DataError, match=r"beyond 2\^53"):
        read_labels(np.array([2**60 + 1, 2**60, None], dtype=object))
