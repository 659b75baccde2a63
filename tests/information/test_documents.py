"""Estimates of rows that are not independent: rows of documents, and copies."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import ConfigError, DataError
from workbench.information import classifier_bound, gaussian_logdet, ksg, mixed_ksg, plugin_discrete, with_null


def test_without_documents_neighbours_are_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(3, 500, p=[0.6, 0.37, 0.03])
    X = rng.standard_normal((500, 3)) + y[:, None]
    plain, own = mixed_ksg(X, y, k=4), mixed_ksg(X, y, k=4, clusters=np.arange(500))
    assert own.value == pytest.approx(plain.value, abs=1e-9)
    assert own.standard_error == pytest.approx(plain.standard_error, abs=1e-9)
    Y = X + rng.standard_normal(X.shape)
    assert ksg(X, Y, k=4, clusters=np.arange(500)).value == pytest.approx(ksg(X, Y, k=4).value, abs=1e-9)


def test_copies_of_texts_hold_no_information_about_a_random_label() -> None:
    rng = np.random.default_rng(0)
    counted, plain = [], []
    for _ in range(10):
        X, y, copies = rng.standard_normal((160, 3)), rng.integers(0, 2, 160), np.tile(np.arange(160), 5)
        again = X[copies] + 1e-7 * rng.standard_normal((800, 3))
        counted.append(mixed_ksg(again, y[copies], k=4, clusters=copies))
        plain.append(mixed_ksg(again, y[copies], k=4).value)
        assert counted[-1].n == pytest.approx(160, abs=5)
        assert counted[-1].clusters == 160
        both = ksg(again, np.tile(rng.standard_normal(160), 5) + 1e-7 * rng.standard_normal(800), k=4, clusters=copies)
        assert abs(both.value) < 0.25
    assert np.mean(plain) > 0.2
    assert np.mean([one.value for one in counted]) == pytest.approx(0, abs=0.05)


def test_documents_do_not_read_as_information_about_a_label_that_was_dealt_to_them() -> None:
    rng = np.random.default_rng(1)
    documents = np.repeat(np.arange(40), 15)
    inside, outside = [], []
    for _ in range(15):
        X = rng.standard_normal((40, 4))[documents] + rng.standard_normal((600, 4))
        y = rng.permutation(np.repeat([0, 1], 20))[documents]
        inside.append(mixed_ksg(X, y, k=5).value)
        outside.append(mixed_ksg(X, y, k=5, clusters=documents))
    assert np.mean(inside) > 0.1
    values, errors = np.array([(one.value, one.standard_error) for one in outside]).T
    assert np.mean(values) == pytest.approx(0, abs=0.05)
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.5)


def test_information_within_documents_is_still_found() -> None:
    rng = np.random.default_rng(2)
    documents = np.repeat(np.arange(30), 30)
    y = rng.integers(0, 2, 900)
    X = rng.standard_normal(900) + 2 * y
    assert mixed_ksg(X, y, clusters=documents).value == pytest.approx(mixed_ksg(X, y).value, abs=0.03)


def test_neighbours_need_other_documents() -> None:
    X, y = np.random.default_rng(0).standard_normal((40, 2)), np.arange(40) % 2
    with pytest.raises(DataError, match="No label lies in two clusters"):
        mixed_ksg(X, y, clusters=y)
    with pytest.raises(DataError, match="rows in other clusters"):
        ksg(X, X[:, :1], k=3, clusters=(np.arange(40) < 38).astype(int))
    with pytest.raises(ConfigError, match="at most 5,000 rows"):
        mixed_ksg(np.zeros((6000, 2)) + np.arange(6000)[:, None], np.arange(6000) % 2, clusters=np.arange(6000))
    with pytest.raises(DataError, match="one cluster a row"):
        mixed_ksg(X, y, clusters=np.zeros(3))


def test_a_sparse_table_is_refused_and_a_full_one_is_not() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 50, 400), rng.integers(0, 50, 400)
    with pytest.raises(DataError, match=r"50 by 50 values is too sparse for 400 rows: 8\d% of them are alone"):
        plugin_discrete(a, b)
    # As many values, but each goes with one other: every cell that can hold rows holds several.
    assert plugin_discrete(a, a).value == pytest.approx(np.log2(50), abs=0.1)
    assert plugin_discrete(a, a % 4).value == pytest.approx(2, abs=0.05)
    with pytest.raises(DataError, match="where no other document has one"):
        plugin_discrete(a[:40] % 5, b[:40] % 5, clusters=np.zeros(40))


def test_copies_of_rows_are_no_information_for_the_table_either() -> None:
    rng = np.random.default_rng(0)
    once, counted, plain, errors = [], [], [], []
    for _ in range(60):
        a, b, copies = rng.integers(0, 8, 300), rng.integers(0, 3, 300), np.repeat(np.arange(300), 6)
        once.append(plugin_discrete(a, b).value)
        found = plugin_discrete(a[copies], b[copies], clusters=copies)
        counted.append(found.value)
        errors.append(found.standard_error - plugin_discrete(a, b).standard_error)
        plain.append(plugin_discrete(a[copies], b[copies]).value)
    assert np.mean(plain) > 0.025
    assert np.mean(counted) == pytest.approx(np.mean(once), abs=0.004)
    assert np.abs(errors).max() < 1e-9


def test_the_sampling_error_of_canonical_correlations_is_made_over_documents() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 2))
    Y = X @ np.array([[1.0, 0.2], [0.0, 0.5]]) + rng.standard_normal((400, 2))
    once, copies = gaussian_logdet(X, Y), np.repeat(np.arange(400), 5)
    again = gaussian_logdet(X[copies], Y[copies], clusters=copies)
    assert again.standard_error == pytest.approx(once.standard_error)
    spread = np.std([gaussian_logdet(*_pair(rng)).value for _ in range(100)])
    assert gaussian_logdet(*_pair(rng)).standard_error == pytest.approx(spread, rel=0.35)


def _pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    # Heavy tails: the error of a Gaussian would be too small.
    X = rng.standard_t(5, 500)
    return X, X + rng.standard_t(5, 500)


def test_a_bound_of_few_documents_has_no_interval() -> None:
    documents = np.repeat(np.arange(16), 10)
    log_proba = np.log(np.tile([0.4, 0.6], (160, 1)))
    enough = classifier_bound(log_proba, (documents < 8).astype(int), documents)
    assert enough.low < enough.value < enough.high
    few = classifier_bound(log_proba, (documents < 7).astype(int), documents)
    assert np.isnan(few.low)
    assert "7 clusters of a class, fewer than 8" in few.note
    three = classifier_bound(np.log(np.full((160, 3), 1 / 3)), np.where(documents < 8, 0, documents % 2 + 1), documents)
    assert "4 clusters hold the second most frequent value" in three.note
    assert np.isnan(with_null(plugin_discrete, documents % 2, (documents < 7).astype(int), 19, clusters=documents).p)
