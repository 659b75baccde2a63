from __future__ import annotations

import numpy as np
import pytest

from probes import (
    LogisticProbe,
    control_task,
    known_rate,
    majority_accuracy,
    random_direction_accuracy,
    selectivity,
    shuffled_label_accuracy,
    shuffled_labels,
)
from workbench.errors import ConfigError, DataError


def test_the_majority_is_that_of_the_training_rows() -> None:
    train = np.array([[1.0, 0], [1, 0], [0, np.nan], [np.nan, 1]])
    np.testing.assert_allclose(majority_accuracy(train), [2 / 3, 2 / 3])
    np.testing.assert_allclose(majority_accuracy(train, np.array([[0.0, 0], [1, 1]])), [0.5, 0.5])


def test_shuffling_keeps_counts_and_joint_rows_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((200, 2)) < 0.3).astype(float)
    Y[:, 1] = 1 - Y[:, 0]
    for clusters in (None, np.arange(200) // 7):
        shuffled = shuffled_labels(Y, 1, clusters)
        np.testing.assert_array_equal(shuffled.sum(axis=0), Y.sum(axis=0))
        np.testing.assert_array_equal(shuffled[:, 1], 1 - shuffled[:, 0])
        assert (shuffled != Y).any()
        np.testing.assert_array_equal(shuffled, shuffled_labels(Y, 1, clusters))


def test_shuffling_examples_keeps_their_runs() -> None:
    clusters = np.repeat(np.arange(50), 8)
    Y = (np.random.default_rng(0).random(50) < 0.5).astype(float)[clusters][:, None]
    shuffled = shuffled_labels(Y, 3, clusters).reshape(50, 8)
    assert (shuffled == shuffled[:, :1]).all()


def test_the_control_task_depends_on_word_and_seed_alone() -> None:
    words = ["bank", "river", "bank", "\0<b>", "\u202eevil", "\ud800"]
    Y = np.array([[1.0], [0], [0], [1], [0], [np.nan]])
    control = control_task(words, Y, seed=0)
    assert control[0] == control[2]
    assert np.isnan(control[5, 0])
    np.testing.assert_array_equal(control[::-1], control_task(words[::-1], Y[::-1], seed=0))
    many = [str(number) for number in range(5000)]
    rates = control_task(many, np.tile([[1.0], [0], [0], [0]], (1250, 1)), seed=1)
    assert rates.mean() == pytest.approx(0.25, abs=0.02)


def test_a_probe_that_memorises_words_has_no_selectivity_and_one_that_reads_the_label_has() -> None:
    rng = np.random.default_rng(0)
    n, kinds = 3000, 40
    word = rng.integers(0, kinds, n)
    words = [f"w{number}" for number in word]
    read = (rng.random(n) < 0.5).astype(float)
    lexical = (word % 2).astype(float)
    X = np.concatenate([np.eye(kinds)[word], (read * 3)[:, None]], axis=1)
    X += 0.03 * rng.standard_normal(X.shape)
    Y = np.stack([read, lexical], axis=1)
    found = selectivity(LogisticProbe(), X[:2000], Y[:2000], words[:2000], X[2000:], Y[2000:], words[2000:])
    np.testing.assert_allclose(found.accuracy, 1, atol=0.02)
    assert abs(found.selectivity[1]) < 0.05
    assert found.control_accuracy[0] > 0.9
    # On vectors that carry the label and not the word, the control task cannot be learned.
    bare = selectivity(LogisticProbe(), X[:2000, -1:], Y[:2000, :1], words[:2000], X[2000:, -1:], Y[2000:, :1], words[2000:])
    assert bare.selectivity[0] > 0.3


def test_shuffled_labels_teach_nothing() -> None:
    rng = np.random.default_rng(0)
    Y = (rng.random((4000, 1)) < 0.5).astype(float)
    X = rng.standard_normal((4000, 10)) + 0.3 * Y
    accuracy = [shuffled_label_accuracy(LogisticProbe(), X[:2000], Y[:2000], X[2000:], Y[2000:], seed)[0] for seed in range(10)]
    assert np.mean(accuracy) == pytest.approx(0.5, abs=0.08)


def test_random_directions_find_a_signal_that_is_everywhere_and_none_that_is_not() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(2000) < 0.5).astype(float)
    loud = np.stack([label, 1 - label, rng.integers(0, 2, 2000)], axis=1)
    X = rng.standard_normal((2000, 4)) + 6 * label[:, None] * np.array([1.0, 1, 0, 0])
    X = np.concatenate([X, np.full((2000, 1), 3.0)], axis=1)
    accuracy = random_direction_accuracy(X[:1000], loud[:1000], X[1000:], loud[1000:], k=30)
    assert (accuracy[:2] > 0.97).all()
    assert accuracy[2] == pytest.approx(0.5, abs=0.06)


def test_one_random_direction_has_the_best_threshold_there_is() -> None:
    rng = np.random.default_rng(4)
    X = np.round(rng.standard_normal((60, 1)), 1)
    Y = (rng.random((60, 1)) < 0.3 + 0.4 * (X > 0)).astype(float)
    splits = [np.where(cut < X, 1, 0) for cut in [-9, *np.unique(X)]]
    best = max(max((split == Y).mean(), (split != Y).mean()) for split in splits)
    assert random_direction_accuracy(X, Y, X, Y, k=3)[0] == pytest.approx(best)


def test_wrong_input_says_what_to_do() -> None:
    Y = np.array([[0.0], [1]])
    with pytest.raises(DataError, match="give one word a row"):
        control_task(["a"], Y)
    with pytest.raises(DataError, match="give one a row"):
        shuffled_labels(Y, clusters=np.array([1]))
    with pytest.raises(DataError, match="1, 0 and nan"):
        majority_accuracy(Y + 1)
    with pytest.raises(DataError, match="pass the same"):
        majority_accuracy(Y, np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="at least one"):
        random_direction_accuracy(Y, Y, Y, Y, k=0)


def test_a_word_has_one_control_label_in_training_and_test_rows_whatever_their_rates_are() -> None:
    rng = np.random.default_rng(2)
    words = [f"w{number}" for number in rng.integers(0, 300, 2000)]
    train, test = words[:1500], words[1500:]
    y_train, y_test = (rng.random((1500, 5)) < 0.3).astype(float), (rng.random((500, 5)) < 0.55).astype(float)
    rate = known_rate(y_train)
    labels: dict[str, np.ndarray] = {}
    both = np.concatenate([control_task(train, y_train, 1, rate), control_task(test, y_test, 1, rate)])
    for word, label in zip(train + test, both, strict=True):
        np.testing.assert_array_equal(labels.setdefault(word, label), label)
    assert np.mean(list(labels.values())) == pytest.approx(0.3, abs=0.04)
    with pytest.raises(DataError, match="one rate a label"):
        control_task(test, y_test, 1, rate[:2])
