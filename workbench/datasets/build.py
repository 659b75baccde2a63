"""From a table of any origin to a Dataset: choose its columns, check them, split by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.conversations import Conversation, conversation, is_conversation
from workbench.datasets import columns as c
from workbench.datasets.columns import Label, listing, quote
from workbench.datasets.dataset import Dataset
from workbench.datasets.images import read_image
from workbench.datasets.spans import no_spans, read_spans
from workbench.datasets.splits import split_by_group, split_name, stable_digest
from workbench.errors import DataError


@dataclass(frozen=True)
class Choice:
    """Which columns of a table to use. None means: guess."""

    text: str | None = None
    image: str | None = None
    labels: tuple[str, ...] | None = None
    split: str | None = None
    group: str | None = None
    spans: str | None = None
    regions: str | None = None
    limit: int | None = None
    drop_blank: bool = False
    image_folder: Path | None = None


def build(frame: pd.DataFrame, choice: Choice, *, name: str, source: dict[str, Any], notes: Sequence[str] = ()) -> Dataset:
    """The data set of a table. DataError, in one sentence, for anything that cannot be used as it is."""
    check_columns(frame.columns)
    if not len(frame):
        raise DataError(f"{quote(name)} is empty: it has no rows.")
    frame = frame.reset_index(drop=True)
    modality, content = _content(frame, choice)
    split_column = c.find_column(frame, choice.split, c.SPLIT_NAMES, "split")
    group_column = c.find_column(frame, choice.group, c.GROUP_NAMES, "group")
    usual = ("spans",) if modality == "text" else ("regions",)
    asked = choice.spans if modality == "text" else choice.regions
    span_column = c.find_column(frame, asked, usual, usual[0])
    taken = {content, *filter(None, (split_column, group_column, span_column))}
    names = _label_names(frame, choice.labels, taken)

    notes = list(notes)
    if modality == "text":
        frame[content] = with_conversations(frame[content])
    if choice.drop_blank:
        frame = _without_blank(frame, content, notes)
    _check_content(frame, content, modality)
    groups = _groups(frame, group_column, content, modality, own_split=split_column is not None)
    splits = _splits(frame, split_column, groups)
    if split_column is not None and group_column is not None:
        _check_groups(groups, splits)
    labels, values = _labels(frame, names)
    keep = spread(len(frame), choice.limit)
    if len(keep) < len(frame):
        notes.append(f"{len(keep):,} of {len(frame):,} examples, evenly spread (limit={choice.limit}).")
    cells = [frame[content].iloc[i] for i in keep]
    examples = (
        cells if modality == "text" else [read_image(v, choice.image_folder, int(i)) for i, v in zip(keep, cells, strict=True)]
    )
    table = pd.DataFrame({modality: objects(examples), "split": [splits[i] for i in keep]})
    table["group"] = objects([groups[i] for i in keep])
    extras = [str(x) for x in frame.columns if x not in taken and x not in names and x not in table.columns]
    for column in names:
        table[column] = values[column].iloc[keep].reset_index(drop=True)
    for column in extras:
        table[column] = frame[column].iloc[keep].reset_index(drop=True)
    spans, scope = no_spans(modality), np.zeros(len(table), dtype=bool)
    if span_column is not None:
        spans, scope = read_spans([frame[span_column].iloc[i] for i in keep], examples, modality)
    return finish(name, modality, table, spans, scope, labels, source, notes)


def finish(
    name: str,
    modality: Literal["text", "image"],
    table: pd.DataFrame,
    spans: pd.DataFrame,
    scope: np.ndarray,
    labels: Sequence[Label],
    source: dict[str, Any],
    notes: Sequence[str] = (),
) -> Dataset:
    """A Dataset of parts that are already checked; the labels' counts are taken from the table."""
    recounted = []
    for label in labels:
        counts: Any = table[label.name].value_counts() if label.kind == "class" else {}
        recounted.append(
            Label(
                label.name,
                "example",
                label.values,
                {v: int(counts.get(v, 0)) for v in label.values},
                label.kind,
            )
        )
    return Dataset(name, modality, table, spans, scope, tuple(recounted), source, tuple(notes))


def objects(values: Sequence[Any]) -> pd.Series:
    """A column that keeps every value as it is (arrays of one shape would be stacked, and conversations become plain texts)."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    return pd.Series(column, dtype=object) if any(isinstance(value, Conversation) for value in values) else pd.Series(column)


def with_conversations(column: pd.Series) -> pd.Series:
    """The column with its lists of messages, or JSON texts of them, as conversations; a column of plain texts as it is.

    Raises:
        DataError: Some rows are conversations and others are not, or one is faulty.
    """
    cells = list(column)
    found = next((row for row, cell in enumerate(cells) if is_conversation(cell)), None)
    if found is None:
        return column
    for row, cell in enumerate(cells):
        if _blank(cell):
            continue
        try:
            read = conversation(cell)
        except DataError as error:
            raise DataError(f"Row {row} (the first is 0) holds no conversation, and row {found} does: {error}") from error
        # One in which nobody says anything is as blank as an empty text.
        cells[row] = read if any(message.content.strip() for message in read.messages) else None
    return objects(cells)


def check_columns(names: Sequence[Any] | pd.Index) -> None:
    """DataError where two columns have one name."""
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise DataError(f"There are two columns called {quote(name)}: rename one of them.")
        seen.add(name)


def _content(frame: pd.DataFrame, choice: Choice) -> tuple[Literal["text", "image"], str]:
    if choice.text is not None and choice.image is not None:
        raise DataError("Give text= or image=, not both: a data set holds texts or images.")
    if choice.text is not None:
        return "text", c.require_column(frame.columns, choice.text, "text")
    if choice.image is not None:
        return "image", c.require_column(frame.columns, choice.image, "image")
    modality, column = c.guess_content(frame)
    return ("text" if modality == "text" else "image"), column


def _label_names(frame: pd.DataFrame, asked: Sequence[str] | None, taken: set[str]) -> list[str]:
    if asked is None:
        return c.guess_labels(frame, taken)
    names = [c.require_column(frame.columns, name, "label") for name in asked]
    for name in names:
        if name in taken:
            raise DataError(f"The column {quote(name)} is already used for something else than a label: choose another.")
    return list(dict.fromkeys(names))


def _labels(frame: pd.DataFrame, names: Sequence[str]) -> tuple[list[Label], dict[str, pd.Series]]:
    labels, values = [], {}
    for name in names:
        if name in {"text", "image", "split", "group", "token", "region"}:
            raise DataError(f"A label cannot be called {quote(name)}: rename the column, {quote(name + '_label')} for one.")
        values[name], label = c.read_label(frame[name], name)
        labels.append(label)
    return labels, values


def _without_blank(frame: pd.DataFrame, content: str, notes: list[str]) -> pd.DataFrame:
    blank = frame[content].map(_blank).to_numpy(dtype=bool)
    if blank.any():
        note = f"{int(blank.sum()):,} blank of {len(frame):,} rows were dropped."
        notes.append(note)
        warnings.warn(note, UserWarning, stacklevel=4)
    return frame[~blank].reset_index(drop=True)


def _blank(value: Any) -> bool:
    return isinstance(value, (str, float, type(None))) and c.missing(value)


def _check_content(frame: pd.DataFrame, content: str, modality: str) -> None:
    cells = list(frame[content])
    blank = [_blank(value) for value in cells]
    if all(blank):
        raise DataError(f"The {modality} column {quote(content)} is empty in every row: choose another with {modality}=.")
    if any(blank):
        more = f", as in {sum(blank) - 1:,} more" if sum(blank) > 1 else ""
        raise DataError(
            f"The {modality} in row {blank.index(True)} (the first is 0) is blank{more}: fill it in, or pass drop_blank=True."
        )
    if modality == "image":
        return
    for row, value in enumerate(cells):
        if not isinstance(value, str):
            kind = type(value).__name__
            raise DataError(
                f"Row {row} (the first is 0) of the text column {quote(content)} holds no text but a {kind}:"
                f" choose the column of the texts with text=; there are {listing(frame.columns)}."
            )
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise DataError(
                f"The text in row {row} (the first is 0) holds half of a character (a lone surrogate): mend or remove it."
            )


def _groups(frame: pd.DataFrame, column: str | None, content: str, modality: str, own_split: bool) -> list[str]:
    """The group of every row. Without a column, copies are one group, so none crosses a split."""
    if column is not None:
        if all(map(c.missing, frame[column])):
            raise DataError(f"The group column {quote(column)} is empty in every row: choose another with group=.")
        return [f"row {i}" if c.missing(v) else c.class_text(v) for i, v in enumerate(frame[column])]
    if own_split or modality == "image":
        return [f"row {i}" for i in range(len(frame))]
    return ["text " + stable_digest(text)[:12] for text in frame[content]]


def _splits(frame: pd.DataFrame, column: str | None, groups: Sequence[str]) -> list[str]:
    if column is None:
        return split_by_group(groups)
    names = [split_name(value) for value in frame[column]]
    if None in names:
        row = names.index(None)
        raise DataError(
            f"Row {row} (the first is 0) of the split column {quote(column)} says"
            f" {quote(frame[column].iloc[row])}:"
            " use train, validation or test."
        )
    return [name for name in names if name is not None]


def _check_groups(groups: Sequence[str], splits: Sequence[str]) -> None:
    side: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if side.setdefault(group, split) != split:
            raise DataError(
                f"The group {quote(group)} lies in both {side[group]} and {split}: a split must not cut a"
                " group,"
                " so correct the split column or choose another group column."
            )


def spread(n: int, limit: int | None) -> np.ndarray:
    """The numbers of ``limit`` rows of ``n``, evenly spread."""
    if limit is not None and limit < 1:
        raise DataError(f"limit={limit} leaves no examples: give 1 or more, or None for all.")
    if limit is None or limit >= n:
        return np.arange(n)
    return np.floor(np.arange(limit) * (n / limit)).astype(np.int64)
