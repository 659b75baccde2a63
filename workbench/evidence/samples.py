"""Rows to fit and try linear concepts on: positions for labels of spans, example means for labels of examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from workbench.activations.labels import POSITION_POOLS, example_means, is_span
from workbench.activations.store import ActivationSet
from workbench.analysis import Context
from workbench.evidence.held_out import HeldOut, held_out
from workbench.statistics.clusters import example_clusters

MIN_TRAIN, MIN_TEST = 20, 8
MAX_EXAMPLES = 4000
# Each seed sees its own part of the training examples, so that two seeds tell how far a direction depends on the sample.
SEEN = 0.7


@dataclass(frozen=True)
class Sample:
    """Training and test rows of one site for several labels.

    Attributes:
        level: ``token`` or ``example``.
        labels: One a column.
        words_train: The token at each row, for the control task; None on the level of examples.
        clusters_train: The cluster of each row: its document, else its content.
        skipped: Labels with too few rows of a class, with the reason.
    """

    level: str
    labels: list[str]
    x_train: Float[np.ndarray, "n d"]
    y_train: Float[np.ndarray, "n c"]
    x_test: Float[np.ndarray, "m d"]
    y_test: Float[np.ndarray, "m c"]
    clusters_train: Int[np.ndarray, "n"]
    clusters_test: Int[np.ndarray, "m"]
    words_train: list[str] | None = None
    words_test: list[str] | None = None
    skipped: list[dict[str, str]] = field(default_factory=list)


def samples(
    context: Context, site: str, labels: list[str], max_rows: int, skipped: list[dict[str, str]] | None = None
) -> Iterator[Sample]:
    """The samples of a site, by level; a level without a usable label is left out.

    Labels with too few rows are appended to ``skipped``, with the reason.
    """
    skipped = [] if skipped is None else skipped
    acts = context.activations.at(site)
    spans = [label for label in labels if is_span(label)]
    wholes = [label for label in labels if not is_span(label)]
    if spans and acts.pool in POSITION_POOLS:
        train = held_out(acts, context.dataset, "train", max_rows, context.seed)
        test = held_out(acts, context.dataset, "test", max_rows, 0)
        found = _by_position(acts, train, test, spans)
        skipped += found.skipped
        if found.labels:
            yield found
    if wholes:
        found = _by_example(acts, context, wholes)
        skipped += found.skipped
        if found.labels:
            yield found


def _usable(names: list[str], train: np.ndarray, test: np.ndarray) -> tuple[list[int], list[dict[str, str]]]:
    keep, skipped = [], []
    for i, name in enumerate(names):
        counts = [int((part[:, i] == value).sum()) for part in (train, test) for value in (1, 0)]
        if min(counts[:2]) < MIN_TRAIN or min(counts[2:]) < MIN_TEST:
            reason = (
                f"'{name}' needs {MIN_TRAIN} training and {MIN_TEST} test rows of each class and has {counts[:2]}"
                f" and {counts[2:]}"
            )
            skipped.append({"label": name, "reason": reason})
        else:
            keep.append(i)
    return keep, skipped


def _by_position(acts: ActivationSet, train: HeldOut, test: HeldOut, labels: list[str]) -> Sample:
    y_train, y_test = train.tokens.only(labels).values, test.tokens.only(labels).values
    keep, skipped = _usable(labels, y_train, y_test)
    # An example whose spans nobody marked says nothing about them.
    a, b = ~np.isnan(y_train).all(1), ~np.isnan(y_test).all(1)
    token = acts.index["token"]
    return Sample(
        "token",
        [labels[i] for i in keep],
        acts.read(train.rows[a]),
        y_train[a][:, keep],
        acts.read(test.rows[b]),
        y_test[b][:, keep],
        train.clusters[a],
        test.clusters[b],
        token.iloc[train.rows[a]].str.lower().tolist(),
        token.iloc[test.rows[b]].str.lower().tolist(),
        skipped,
    )


def _by_example(acts: ActivationSet, context: Context, labels: list[str]) -> Sample:
    dataset = context.dataset
    names, values = dataset.example_targets()
    columns = [names.index(label) for label in labels]
    captured = np.unique(acts.index["example"].to_numpy())
    split = dataset.table["split"].to_numpy()[captured]
    rng = np.random.default_rng(context.seed)
    pool = captured[split == "train"]
    train = np.sort(rng.permutation(pool)[: min(MAX_EXAMPLES, int(len(pool) * SEEN))])
    test = captured[split == "test"]
    y_train, y_test = values[train][:, columns], values[test][:, columns]
    keep, skipped = _usable(labels, y_train, y_test)
    if not keep:
        none, no_rows = np.empty((0, 0)), np.empty(0, dtype=np.int64)
        return Sample("example", [], none, none, none, none, no_rows, no_rows, skipped=skipped)
    return Sample(
        "example",
        [labels[i] for i in keep],
        example_means(acts, train),
        y_train[:, keep],
        example_means(acts, test),
        y_test[:, keep],
        example_clusters(dataset, train),
        example_clusters(dataset, test),
        skipped=skipped,
    )
