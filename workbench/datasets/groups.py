"""Which examples belong together, and the split of each: a group is never cut, and copies never fall into two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.datasets import columns as c
from workbench.datasets.columns import listing, quote
from workbench.datasets.splits import SPLITS, deal_out, split_by_group, split_name, stable_digest
from workbench.errors import DataError

# A part with a smaller share of the examples than this is mentioned: it can hardly be measured on.
SMALL_SHARE = 0.05
# The beginnings of notes on groups and splits, by which they are found and dropped when those change.
ABOUT_GROUPS, ABOUT_SPLITS = "Groups: ", "Splits: "


@dataclass(frozen=True)
class Arrangement:
    """The group and the split of every row, and notes about them."""

    groups: list[str]
    splits: list[str]
    notes: list[str]


def content_keys(contents: Sequence[Any], modality: str) -> list[str]:
    """One key an example; equal keys mean equal texts (character by character) or equal images (pixel by pixel)."""
    if modality == "text":
        return list(contents)
    return [f"{image.shape} {hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()}" for image in contents]


def copies(keys: Sequence[str]) -> np.ndarray:
    """Which examples are copies of an earlier one."""
    return pd.Series(list(keys), dtype=object).duplicated().to_numpy()


def arrange(
    frame: pd.DataFrame,
    keys: Sequence[str],
    modality: str,
    group: str | None,
    split: str | None,
    words: Collection[str],
    rules: int,
) -> Arrangement:
    """The groups and splits of the rows of a table.

    Without a ``group`` column, every different content is a group. With one, a row without a value is a group of its own, and
    groups that share a copy of one content are joined. Without a ``split`` column, whole groups are dealt out. ``rules=1`` is
    how it was done before copies counted beside a group column.

    Raises:
        DataError: The split column holds another word, or cuts a group, or puts copies of one content into two splits.
    """
    if rules == 1:
        return _as_before(frame, keys, modality, group, split)
    notes: list[str] = []
    named = _named_groups(frame, group, words) if group is not None else [None] * len(frame)
    groups = _joined(named, keys, modality, notes)
    if split is None:
        alone = [value is None for value in named] if group is not None else [False] * len(frame)
        splits = deal_out(groups, alone)
        notes += _small_parts(groups, splits, group is not None)
    else:
        splits = _own_splits(frame, split)
        _check_copies(keys, splits, modality)
        if group is not None:
            _check_groups(groups, splits)
        notes += _empty_parts(splits, split)
    return Arrangement(groups, splits, notes)


def _named_groups(frame: pd.DataFrame, column: str, words: Collection[str]) -> list[str | None]:
    values = [None if c.missing(value, words) else value for value in c.cells(frame[column])]
    if all(value is None for value in values):
        raise DataError(f"The group column {quote(column)} is empty in every row: choose another with group=.")
    present = [value for value in values if value is not None]
    c.require_exact(present, column, "group")
    found = c.identifiers(present)
    c.require_whole(found, column, "group")
    names = iter(found)
    return [None if value is None else next(names) for value in values]


def _joined(named: Sequence[str | None], keys: Sequence[str], modality: str, notes: list[str]) -> list[str]:
    """The name of the group of every row: the connected parts of the graph of rows, groups and contents."""
    nodes: dict[Hashable, int] = {}
    content = [nodes.setdefault(("content", key), len(nodes)) for key in keys]
    group = [None if name is None else nodes.setdefault(("group", name), len(nodes)) for name in named]
    parent = list(range(len(nodes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in zip(content, group, strict=True):
        if other is not None:
            parent[root(one)] = root(other)
    members: dict[int, set[str]] = {}
    for name, node in zip(named, group, strict=True):
        if name is not None and node is not None:
            members.setdefault(root(node), set()).add(name)
    called = {node: _together(names) for node, names in members.items()}
    joined = [names for names in members.values() if len(names) > 1]
    if joined:
        notes.append(
            f"{ABOUT_GROUPS}{sum(map(len, joined)):,} of them share copies of a {modality} and were joined into {len(joined):,},"
            " so that no copies fall into two splits."
        )
    return [
        called[place] if (place := root(node)) in called else f"{modality} {stable_digest(key)[:12]}"
        for node, key in zip(content, keys, strict=True)
    ]


def _together(names: set[str]) -> str:
    first = sorted(names)
    return first[0] if len(first) == 1 else f"{first[0]} (joined with {len(first) - 1} more)"


def _own_splits(frame: pd.DataFrame, column: str) -> list[str]:
    names = [split_name(value) for value in frame[column]]
    if None in names:
        row = names.index(None)
        raise DataError(
            f"Row {row} (the first is 0) of the split column {quote(column)} says {quote(frame[column].iloc[row])}:"
            " use train, validation or test."
        )
    return [name for name in names if name is not None]


def _check_groups(groups: Sequence[str], splits: Sequence[str]) -> None:
    side: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if side.setdefault(group, split) != split:
            raise DataError(
                f"The group {quote(group)} lies in both {side[group]} and {split}: a split must not cut a group,"
                " so correct the split column or choose another group column."
            )


def _check_copies(keys: Sequence[str], splits: Sequence[str], modality: str) -> None:
    first: dict[str, tuple[int, str]] = {}
    leaks = []
    for row, (key, split) in enumerate(zip(keys, splits, strict=True)):
        earlier, side = first.setdefault(key, (row, split))
        if side != split:
            leaks.append((earlier, side, row, split))
    if leaks:
        earlier, side, row, split = leaks[0]
        more = f", and {len(leaks) - 1:,} more like it" if len(leaks) > 1 else ""
        raise DataError(
            f"The {modality} of row {row} (the first is 0), in {split}, is a copy of that of row {earlier}, in {side}{more}: what"
            f" is measured on {split} would have been seen. Pass drop_duplicates=True (--drop-duplicates) to keep the first of"
            " each, or correct the split column."
        )


def _small_parts(groups: Sequence[str], splits: Sequence[str], named: bool) -> list[str]:
    counts, many = Counter(splits), len(set(groups))
    if many < 3 and (named or len(splits) >= 1 / SMALL_SHARE):
        lacking, there = listing(name for name in SPLITS if not counts[name]), "is only 1" if many == 1 else f"are only {many}"
        more = "choose another group column, with three or more" if named else "all others are copies"
        return [f"{ABOUT_GROUPS}there {there}, so that no example is in {lacking}, and nothing can be measured there: {more}."]
    if len(splits) < 1 / SMALL_SHARE:
        return []
    least = SMALL_SHARE * len(splits)
    small = [f"{name} {counts[name]:,}" for name in SPLITS if counts[name] < least]
    if not small:
        return []
    largest, size = Counter(groups).most_common(1)[0]
    return [
        f"{ABOUT_GROUPS}they are of very different size, so that there are few of {len(splits):,} examples in"
        f" {', '.join(small)}; the largest, {quote(largest)}, has {size:,}."
    ]


def _empty_parts(splits: Sequence[str], column: str) -> list[str]:
    lacking = [name for name in SPLITS if name not in splits]
    if not lacking:
        return []
    return [f"{ABOUT_SPLITS}the column {quote(column)} puts no example in {listing(lacking)}: nothing can be measured there."]


def _as_before(frame: pd.DataFrame, keys: Sequence[str], modality: str, group: str | None, split: str | None) -> Arrangement:
    if group is not None:
        groups = [f"row {i}" if c.missing(v) else c.class_text(v) for i, v in enumerate(frame[group])]
    elif split is not None or modality == "image":
        groups = [f"row {i}" for i in range(len(frame))]
    else:
        groups = ["text " + stable_digest(key)[:12] for key in keys]
    return Arrangement(groups, split_by_group(groups) if split is None else _own_splits(frame, split), [])
