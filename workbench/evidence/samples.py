"""Rows to fit and try linear concepts on: positions for labels of spans, example means for labels of examples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from workbench.activations.labels import POSITION_POOLS, choose_labels, example_means, is_span
from workbench.activations.store import ActivationSet
from workbench.analysis import Context
from workbench.datasets import Dataset
from workbench.errors import DataError, WorkbenchWarning
from workbench.evidence.held_out import held_out
from workbench.numbers import counted
from workbench.progress import Progress, shares, silent
from workbench.statistics.clusters import example_clusters

MIN_TRAIN, MIN_TEST = 20, 8
MAX_EXAMPLES = 4000
# Each seed sees its own part of the training examples, so that two seeds show how far a direction depends on the sample.
SEEN = 0.7
# How many reasons are given one by one.
_TOLD = 2


@dataclass(frozen=True)
class Sample:
    """Training and test rows of one site for several labels.

    Attributes:
        level: ``token`` or ``example``.
        labels: One a column.
        words_train: The token at each row, for the control task; None on the level of examples.
        clusters_train: The cluster of each row: its document, else its content.
        progress: Called with ``(done, total, text)`` for what is done with it, in units of its own.
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
    progress: Progress = silent


@dataclass(frozen=True)
class Chosen:
    """Which rows of an activation set a `Sample` is made of, before any activation is read: the same at every site.

    Attributes:
        train, test: Numbers of rows on the level of tokens, of examples on that of examples.
        skipped: Labels with too few rows of a class, with the reason.
    """

    level: str
    labels: list[str]
    train: Int[np.ndarray, "n"]
    test: Int[np.ndarray, "m"]
    y_train: Float[np.ndarray, "n c"]
    y_test: Float[np.ndarray, "m c"]
    clusters_train: Int[np.ndarray, "n"]
    clusters_test: Int[np.ndarray, "m"]
    skipped: list[dict[str, str]] = field(default_factory=list)


def samples(
    context: Context, site: str, labels: list[str], max_rows: int, skipped: list[dict[str, str]] | None = None
) -> Iterator[Sample]:
    """The samples of a site, by level; a level without a usable label is left out.

    Labels with too few rows are appended to ``skipped``, with the reason.
    """
    acts = context.activations.at(site)
    every = list(choose_rows(acts, context.dataset, labels, max_rows, context.seed))
    progresses = shares(context.progress, [len(chosen.train) * len(chosen.labels) for chosen in every])
    for show, chosen in zip(progresses, every, strict=True):
        if skipped is not None:
            skipped += chosen.skipped
        if chosen.labels:
            yield _read(acts, chosen, show)


def choose_rows(acts: ActivationSet, dataset: Dataset, labels: list[str], max_rows: int, seed: int) -> Iterator[Chosen]:
    """The rows of the samples of every site, by level; nothing is read but the labels.

    Raises:
        DataError: The captured examples hold none of the training or none of the test split, and labels of positions are asked.
    """
    spans = [label for label in labels if is_span(label)]
    wholes = [label for label in labels if not is_span(label)]
    if spans and acts.pool in POSITION_POOLS:
        yield _positions(acts, dataset, spans, max_rows, seed)
    elif spans:
        reason = "'{}' marks positions, and there is one row an example: capture with pool='token'"
        none, skipped = np.empty(0, dtype=np.int64), [{"label": label, "reason": reason.format(label)} for label in spans]
        yield Chosen("token", [], none, none, np.empty((0, 0)), np.empty((0, 0)), none, none, skipped)
    if wholes:
        yield _examples(acts, dataset, wholes, seed)


def require_fit(
    acts: ActivationSet,
    dataset: Dataset,
    labels: list[str],
    asked: str | Sequence[str] | None,
    max_rows: int,
    seed: int,
) -> list[str]:
    """See that some label has the rows to be fitted and scored, and say which of those that were asked for have not.

    Args:
        acts: The activations.
        dataset: Their data.
        labels: The labels that are to be fitted.
        asked: What was named of labels and columns; nothing is said of single labels where nothing was.
        max_rows: As for `samples`.
        seed: As for `samples`.

    Returns:
        The labels that have them.

    Raises:
        DataError: None has.
    """
    chosen = list(choose_rows(acts, dataset, labels, max_rows, seed))
    fits = [label for part in chosen for label in part.labels]
    why = {skip["label"]: skip["reason"] for part in chosen for skip in part.skipped}
    if not fits:
        raise DataError(
            f"No label can be fitted: {_some([*why.values()])}. Capture or label more examples (seven tenths are drawn to train"
            " on), or name labels that are less rare."
        )
    for item in [asked] if isinstance(asked, str) else asked or ():
        mine = [label for label in choose_labels(dataset, item) if label in labels]
        if mine and all(label in why for label in mine):
            text = f"'{item}' is left out: {_some([why[label] for label in mine])}. Capture or label more examples of it."
            warnings.warn(text, WorkbenchWarning, stacklevel=2)
    return fits


def _some(reasons: list[str]) -> str:
    """The first few reasons, and how many more there are."""
    shown = "; ".join(reasons[:_TOLD])
    return f"{shown}; and {counted(len(reasons) - _TOLD, 'more label')} likewise" if len(reasons) > _TOLD else shown


def _usable(names: list[str], train: np.ndarray, test: np.ndarray, hint: str = "") -> tuple[list[int], list[dict[str, str]]]:
    keep, skipped = [], []
    for i, name in enumerate(names):
        counts = [int((part[:, i] == value).sum()) for part in (train, test) for value in (1, 0)]
        if min(counts[:2]) < MIN_TRAIN or min(counts[2:]) < MIN_TEST:
            reason = (
                f"'{name}' has {counts[0]:,} training and {counts[2]:,} test rows with it, {counts[1]:,} and {counts[3]:,}"
                f" without, and needs {MIN_TRAIN} and {MIN_TEST} of each{hint}"
            )
            skipped.append({"label": name, "reason": reason})
        else:
            keep.append(i)
    return keep, skipped


def _whole_groups(dataset: Dataset, examples: Int[np.ndarray, "n"]) -> str:
    """That groups leave little to be dealt out, where they do: each is in one split."""
    groups = len(np.unique(example_clusters(dataset, examples)))
    if groups * 2 > len(examples):
        return ""
    return f" (the {len(examples):,} captured examples are in {counted(groups, 'group')}, each of them whole in one split)"


def _positions(acts: ActivationSet, dataset: Dataset, labels: list[str], max_rows: int, seed: int) -> Chosen:
    train, test = held_out(acts, dataset, "train", max_rows, seed), held_out(acts, dataset, "test", max_rows, 0)
    y_train, y_test = train.tokens.only(labels).values, test.tokens.only(labels).values
    of_split = dataset.table["split"].to_numpy()[acts.index["example"].to_numpy()]
    drawn = len(train.rows) < (of_split == "train").sum() or len(test.rows) < (of_split == "test").sum()
    hint = f" (of {max_rows:,} rows that are drawn: raise max_rows for more)" if drawn else ""
    keep, skipped = _usable(labels, y_train, y_test, hint + _whole_groups(dataset, np.unique(acts.index["example"].to_numpy())))
    # Examples that were not annotated with spans are unknown.
    a, b = ~np.isnan(y_train).all(1), ~np.isnan(y_test).all(1)
    return Chosen(
        "token", [labels[i] for i in keep], train.rows[a], test.rows[b], y_train[a][:, keep], y_test[b][:, keep],
        train.clusters[a], test.clusters[b], skipped,
    )  # fmt: skip


def _examples(acts: ActivationSet, dataset: Dataset, labels: list[str], seed: int) -> Chosen:
    names, values = dataset.example_targets()
    columns = [names.index(label) for label in labels]
    captured = np.unique(acts.index["example"].to_numpy())
    split = dataset.table["split"].to_numpy()[captured]
    rng = np.random.default_rng(seed)
    pool = captured[split == "train"]
    train = np.sort(rng.permutation(pool)[: min(MAX_EXAMPLES, int(len(pool) * SEEN))])
    test = captured[split == "test"]
    y_train, y_test = values[train][:, columns], values[test][:, columns]
    drawn = f" (of {len(train):,} of the {len(pool):,} training examples, which a seed draws)" if len(train) < len(pool) else ""
    keep, skipped = _usable(labels, y_train, y_test, drawn + _whole_groups(dataset, captured))
    return Chosen(
        "example", [labels[i] for i in keep], train, test, y_train[:, keep], y_test[:, keep],
        example_clusters(dataset, train), example_clusters(dataset, test), skipped,
    )  # fmt: skip


def _read(acts: ActivationSet, chosen: Chosen, progress: Progress) -> Sample:
    rows = (chosen.train, chosen.test)
    by_position = chosen.level == "token"
    x_train, x_test = (acts.read(part) if by_position else example_means(acts, part) for part in rows)
    token = acts.index["token"] if by_position else None
    words_train, words_test = (None if token is None else token.iloc[part].str.lower().tolist() for part in rows)
    return Sample(
        chosen.level, chosen.labels, x_train, chosen.y_train, x_test, chosen.y_test,
        chosen.clusters_train, chosen.clusters_test, words_train, words_test, progress,
    )  # fmt: skip
