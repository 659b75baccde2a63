"""Controls of probes: what an accuracy is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.base import clone

from probes.logistic import LogisticProbe
from workbench.errors import ConfigError, DataError
from workbench.statistics.features import feature_scales


def majority_accuracy(
    Y_train: Float[np.ndarray, "n c"], Y_test: Float[np.ndarray, "m c"] | None = None
) -> Float[np.ndarray, " c"]:
    """Accuracy, per label, of always answering the more frequent class of the training rows.

    Args:
        Y_train: ``[n, c]`` of 1, 0 and nan.
        Y_test: rows to score, or None for the training rows.

    Returns:
        ``[c]`` in [0, 1]; nan for a label that is known nowhere.
    """
    train = _labels(Y_train)
    test = train if Y_test is None else _labels(Y_test)
    _same_columns(train, test)
    with np.errstate(invalid="ignore"):
        guess = np.nansum(train, axis=0) * 2 > (~np.isnan(train)).sum(axis=0)
        return (test == guess).sum(axis=0) / (~np.isnan(test)).sum(axis=0)


def shuffled_labels(
    Y: Float[np.ndarray, "n c"], seed: int = 0, clusters: Shaped[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n c"]:
    """Labels that carry nothing: whole rows permuted, so that labels keep their joint counts.

    Args:
        Y: ``[n, c]`` of 1, 0 and nan.
        seed: of the permutation.
        clusters: ``[n]`` the example of each row. Then examples are put in a random order and their rows
            are dealt out in that order, which keeps the runs of labels within an example.

    Raises:
        DataError: for clusters that do not fit.
    """
    labels = _labels(Y)
    rng = np.random.default_rng(seed)
    if clusters is None:
        return labels[rng.permutation(len(labels))]
    clusters = np.asarray(clusters)
    if clusters.shape != (len(labels),):
        raise DataError(f"There are {len(labels)} rows and clusters {clusters.shape}: give one a row.")
    _, ids = np.unique(clusters, return_inverse=True)
    place = rng.permutation(ids.max(initial=0) + 1)[ids]
    shuffled = np.empty_like(labels)
    shuffled[np.argsort(ids, kind="stable")] = labels[np.argsort(place, kind="stable")]
    return shuffled


def control_task(
    words: Sequence[str], Y: Float[np.ndarray, "n c"], seed: int = 0, rate: Float[np.ndarray, " c"] | None = None
) -> Float[np.ndarray, "n c"]:
    """Random labels, one draw for each word type: what a probe can learn by memorising words.

    The label of a word depends on the word, the seed and the rate alone. With the rate of the training rows for both splits, a
    word has one label in training and test rows alike, as the task needs. Rows unknown in Y stay unknown.

    Args:
        words: ``[n]`` the word (or token) of each row.
        Y: ``[n, c]`` of 1, 0 and nan.
        seed: of the draw.
        rate: ``[c]`` the share of words that are 1, from :func:`known_rate` of the training rows; that of Y when left out.

    Raises:
        DataError: when words and Y differ in length, or rate and Y in labels.

    Source: Hewitt and Liang (2019), "Designing and interpreting probes with control tasks".
    """
    labels = _labels(Y)
    rate = known_rate(labels) if rate is None else np.asarray(rate, dtype=np.float64)
    if rate.shape != labels.shape[1:]:
        raise DataError(f"There are {labels.shape[1]} labels and rates of shape {rate.shape}: give one rate a label.")
    return _control_labels(words, labels, rate, seed)


def known_rate(Y: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " c"]:
    """The share of 1 among the known rows of each label; nan for one that is known nowhere."""
    labels = _labels(Y)
    with np.errstate(invalid="ignore"):
        return np.nansum(labels, axis=0) / (~np.isnan(labels)).sum(axis=0)


@dataclass(frozen=True)
class Selectivity:
    """Accuracies ``[c]`` on held-out rows, and their difference: what is read out beyond memorised words."""

    accuracy: Float[np.ndarray, " c"]
    control_accuracy: Float[np.ndarray, " c"]

    @property
    def selectivity(self) -> Float[np.ndarray, " c"]:
        """Accuracy minus control accuracy ``[c]``, in [-1, 1]."""
        return self.accuracy - self.control_accuracy


def selectivity(
    probe: LogisticProbe,
    X_train: Float[np.ndarray, "n d"],
    Y_train: Float[np.ndarray, "n c"],
    words_train: Sequence[str],
    X_test: Float[np.ndarray, "m d"],
    Y_test: Float[np.ndarray, "m c"],
    words_test: Sequence[str],
    seed: int = 0,
) -> Selectivity:
    """Fit the probe on the labels and on their control task; score both on the held-out rows.

    Args:
        probe: an unfitted probe; clones of it are fitted.
        X_train: ``[n, d]``.
        Y_train: ``[n, c]`` of 1, 0 and nan.
        words_train: ``[n]`` word of each row.
        X_test: ``[m, d]``.
        Y_test: ``[m, c]``.
        words_test: ``[m]``.
        seed: of the control task.

    Raises:
        DataError: for shapes that do not fit, or a label (or its control) with one class.

    Source: Hewitt and Liang (2019).
    """
    train, test = _labels(Y_train), _labels(Y_test)
    _same_columns(train, test)
    rate = known_rate(train)
    control_train = control_task(words_train, train, seed, rate)
    control_test = control_task(words_test, test, seed, rate)
    # One solve for both: the control columns stand beside the real ones.
    n_labels = train.shape[1]
    names = [f"{kind} {number}" for kind in ("label", "control task of label") for number in range(n_labels)]
    fitted = clone(probe).fit(X_train, np.concatenate([train, control_train], axis=1), names=names)
    accuracy = fitted.accuracies(X_test, np.concatenate([test, control_test], axis=1))
    return Selectivity(accuracy[:n_labels], accuracy[n_labels:])


def shuffled_label_accuracy(
    probe: LogisticProbe,
    X_train: Float[np.ndarray, "n d"],
    Y_train: Float[np.ndarray, "n c"],
    X_test: Float[np.ndarray, "m d"],
    Y_test: Float[np.ndarray, "m c"],
    seed: int = 0,
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " c"]:
    """Accuracy ``[c]`` on the true held-out labels of a probe fitted to shuffled ones.

    Args and errors as :func:`selectivity` and :func:`shuffled_labels`; ``clusters`` are those of the
    training rows.
    """
    fitted = clone(probe).fit(X_train, shuffled_labels(Y_train, seed, clusters))
    return fitted.accuracies(X_test, _labels(Y_test))


def random_direction_accuracy(
    X_train: Float[np.ndarray, "n d"],
    Y_train: Float[np.ndarray, "n c"],
    X_test: Float[np.ndarray, "m d"],
    Y_test: Float[np.ndarray, "m c"],
    k: int = 100,
    seed: int = 0,
    callback: Callable[[float], None] = lambda _: None,
) -> Float[np.ndarray, " c"]:
    """Held-out accuracy of the best of k random directions, with a fitted threshold.

    Each direction is drawn from a Gaussian in standardised space; per label, the direction, its threshold
    and its sign with the best accuracy on the training rows are kept. It shows how much of an accuracy any
    direction would give.

    Args:
        X_train: ``[n, d]``.
        Y_train: ``[n, c]`` of 1, 0 and nan.
        X_test: ``[m, d]``.
        Y_test: ``[m, c]``.
        k: how many directions.
        seed: of the directions.
        callback: called with the share of the work that is done, up to 1.

    Returns:
        ``[c]`` in [0, 1]; nan for a label without known test rows.

    Raises:
        ConfigError: for k below 1.
        DataError: for shapes that do not fit.
    """
    if k < 1:
        raise ConfigError(f"k is {k}: draw at least one direction.")
    train, test = _labels(Y_train), _labels(Y_test)
    _same_columns(train, test)
    X_train, X_test = np.asarray(X_train), np.asarray(X_test)
    mean, std = X_train.mean(axis=0, dtype=np.float64), X_train.std(axis=0, dtype=np.float64)
    kept_as = X_train.dtype if X_train.dtype.kind == "f" else np.float64
    drawn = np.random.default_rng(seed).standard_normal((k, X_train.shape[1]))
    directions = drawn * feature_scales(std, mean, kept_as)
    best = np.full(train.shape[1], -1)
    held_out = np.zeros((len(test), train.shape[1]), dtype=bool)
    train_values, test_values = X_train @ directions.T, X_test @ directions.T
    for number, (correct, threshold, above) in enumerate(_fitted_thresholds(train_values, train)):
        better = correct > best
        best = np.where(better, correct, best)
        predicted = (test_values[:, number, None] > threshold) == above
        held_out[:, better] = predicted[:, better]
        callback((number + 1) / k)
    with np.errstate(invalid="ignore"):
        return (held_out == test).sum(axis=0) / (~np.isnan(test)).sum(axis=0)


def _fitted_thresholds(
    values: Float[np.ndarray, "n k"], labels: Float[np.ndarray, "n c"]
) -> Iterator[tuple[Int[np.ndarray, " c"], Float[np.ndarray, " c"], np.ndarray]]:
    """Per direction: the best count of right answers, its threshold, whether 1 lies above; each ``[c]``."""
    positive, negative = labels == 1, labels == 0
    totals = positive.sum(axis=0), negative.sum(axis=0)
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        below = [np.cumsum(side[order], axis=0, dtype=np.int64) for side in (positive, negative)]
        # Answering 1 above place i is right for the negatives up to i and the positives after it.
        right_above = below[1] + totals[0] - below[0]
        right_below = totals[0] + totals[1] - right_above
        splits = np.append(ordered[1:] != ordered[:-1], True)
        right = np.where(splits[:, None], np.maximum(right_above, right_below), -1)
        place = right.argmax(axis=0)
        labels_at = np.arange(labels.shape[1])
        following = np.append(ordered[1:], np.inf)[place]
        threshold = np.where(np.isinf(following), ordered[place], (ordered[place] + following) / 2)
        above = right_above[place, labels_at] >= right_below[place, labels_at]
        yield right[place, labels_at], threshold, above


def _control_labels(
    words: Sequence[str], labels: Float[np.ndarray, "n c"], rate: Float[np.ndarray, " c"], seed: int
) -> Float[np.ndarray, "n c"]:
    if len(words) != len(labels):
        raise DataError(f"There are {len(words)} words and {len(labels)} rows: give one word a row.")
    types = {word: number for number, word in enumerate(dict.fromkeys(words))}
    drawn = np.stack([_uniform(word, seed, labels.shape[1]) for word in types]) if types else np.empty((0, 1))
    rows = np.array([types[word] for word in words], dtype=np.int64)
    control = (drawn < rate)[rows].astype(labels.dtype)
    return np.where(np.isnan(labels), np.nan, control)


def _uniform(word: str, seed: int, count: int) -> Float[np.ndarray, " count"]:
    """Numbers that depend on the word and the seed alone, on any machine and in any process."""
    import hashlib

    digest = hashlib.sha256(f"{seed}\0{word}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32)).random(count)


def _labels(Y: Any) -> Float[np.ndarray, "n c"]:
    if hasattr(Y, "detach"):
        Y = Y.detach().cpu().numpy()
    labels = np.asarray(Y, dtype=np.float64)
    if labels.ndim == 1:
        labels = labels[:, None]
    if labels.ndim != 2 or not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
        raise DataError("Labels are [n, c] of 1, 0 and nan: code each label that way first.")
    return labels


def _same_columns(train: np.ndarray, test: np.ndarray) -> None:
    if train.shape[1] != test.shape[1]:
        raise DataError(f"There are {train.shape[1]} training and {test.shape[1]} test labels: pass the same.")
