"""From a table of any origin to a Dataset: choose its columns, check them, split by group."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.conversations import Conversation, conversation, is_conversation
from workbench.datasets import columns as c
from workbench.datasets.columns import MISSING_WORDS, Label, listing, quote
from workbench.datasets.dataset import Dataset
from workbench.datasets.groups import arrange, content_keys, copies
from workbench.datasets.images import UnreadableError, on_one_scale, read_image
from workbench.datasets.spans import no_spans, read_spans
from workbench.errors import DataError, WorkbenchWarning

# Column names that labels cannot have: those of the table itself, and those of labels of spans.
RESERVED = frozenset({"text", "image", "split", "group", "token", "region"})
# The end of notes on words for missing values, by which they are found and dropped when the words change.
KEEP_WORDS = "missing=[] (--missing '') keeps such words as values."


@dataclass(frozen=True)
class Choice:
    """Which columns of a table to use, and how. None means: guess.

    ``missing`` are the words that stand for no value in label and group columns. ``rules`` is 1 for data sets of studies that
    were made before copies were kept out of different splits and named integers were classes, so that they load as they were.
    """

    text: str | None = None
    image: str | None = None
    labels: tuple[str, ...] | None = None
    split: str | None = None
    group: str | None = None
    spans: str | None = None
    regions: str | None = None
    limit: int | None = None
    drop_blank: bool = False
    drop_duplicates: bool = False
    drop_unreadable: bool = False
    missing: tuple[str, ...] = MISSING_WORDS
    image_folder: Path | None = None
    rules: int = 2


def build(frame: pd.DataFrame, choice: Choice, *, name: str, source: dict[str, Any], notes: Sequence[str] = ()) -> Dataset:
    """The data set of a table. DataError, in one sentence, for anything that cannot be used as it is."""
    c.check_columns(frame.columns)
    if not len(frame):
        raise DataError(f"{quote(name)} is empty: it has no rows.")
    frame = frame.reset_index(drop=True)
    frame.columns = list(map(str, frame.columns))
    modality, content = _content(frame, choice)
    split_column = c.find_column(frame, choice.split, c.SPLIT_NAMES, "split")
    group_column = c.find_column(frame, choice.group, c.GROUP_NAMES, "group")
    usual = ("spans",) if modality == "text" else ("regions",)
    asked = choice.spans if modality == "text" else choice.regions
    span_column = c.find_column(frame, asked, usual, usual[0])
    taken = {content, *filter(None, (split_column, group_column, span_column))}
    words = choice.missing if choice.rules > 1 else ()
    names = _label_names(frame, choice.labels, taken, words)

    notes = list(notes)
    if choice.labels is None:
        _note_empty(frame, taken, notes)
    if modality == "text":
        frame[content] = with_conversations(frame[content])
    if choice.drop_blank:
        frame = _without_blank(frame, content, notes)
    _check_content(frame, content, modality)
    early = modality == "image" and choice.rules > 1
    labels, values = _labels(frame, names, choice.labels is not None and choice.rules > 1, words)
    rows, contents, keys = _examples(frame, content, modality, choice, early, values, notes)
    frame = frame.iloc[rows].reset_index(drop=True)
    found = arrange(frame, keys, modality, group_column, split_column, words, choice.rules)
    notes += found.notes
    note_missing({name: frame[name] for name in [*names, *filter(None, (group_column,))]}, words, notes)
    keep = spread(len(frame), None if early else choice.limit)
    if len(keep) < len(frame):
        notes.append(f"{len(keep):,} of {len(frame):,} examples, evenly spread (limit={choice.limit}).")
    examples = [contents[i] for i in keep]
    if modality == "image" and not early:
        examples = on_one_scale([read_image(value, choice.image_folder, int(i)) for i, value in zip(keep, examples, strict=True)])
    table = pd.DataFrame({modality: objects(examples), "split": [found.splits[i] for i in keep]})
    table["group"] = objects([found.groups[i] for i in keep])
    for column in names:
        table[column] = values[column].iloc[rows[keep]].reset_index(drop=True)
    _keep_others(frame.iloc[keep], table, {*names, content, span_column}, {split_column, group_column}, notes)
    if modality == "image" and "file" not in table.columns and frame[content].map(lambda cell: isinstance(cell, str)).all():
        table["file"] = frame[content].iloc[keep].reset_index(drop=True)
    spans, scope = no_spans(modality), np.zeros(len(table), dtype=bool)
    if span_column is not None:
        spans, scope = read_spans([frame[span_column].iloc[i] for i in keep], examples, modality)
    given = {n: frame[n].iloc[keep].reset_index(drop=True) for n in names if c.says_missing(frame[n], words)}
    return finish(name, modality, table, spans, scope, labels, source, notes, choice.missing, given)


def _keep_others(
    frame: pd.DataFrame, table: pd.DataFrame, used: Collection[str | None], arranged: Collection[str | None], notes: list[str]
) -> None:
    """Put every other column into the table, also those of the splits and groups, so that they can be chosen again later."""
    for column in frame.columns:
        if column in used or (column in table and column in arranged):
            continue
        called = column if column not in table else c.kept_name(column, frame.columns)
        if called != column:
            notes.append(
                f"The column {quote(column)} is kept as {quote(called)}: the {column}s of the data set come from another."
            )
        table[called] = frame[column].reset_index(drop=True)


def _examples(
    frame: pd.DataFrame,
    content: str,
    modality: str,
    choice: Choice,
    early: bool,
    labels: Mapping[str, pd.Series],
    notes: list[str],
) -> tuple[np.ndarray, list[Any], list[str]]:
    """The numbers of the rows that are kept, their texts or images, and a key of each that copies share.

    Images are read here when ``early``, for which the limit comes first; otherwise the cells stay as they are.
    """
    rows = np.arange(len(frame))
    if early:
        rows, images = _images(frame, content, choice, notes)
        contents: list[Any] = list(images)
        keys = content_keys(contents, modality)
    else:
        contents = list(frame[content])
        keys = list(contents) if modality == "text" else list(map(str, rows))
    again = copies(keys)
    these = f"{int(again.sum()):,} of {len(rows):,} {modality}s"
    one = int(again.sum()) == 1
    if choice.drop_duplicates and again.any():
        notes.append(
            f"{these} {'was a copy' if one else 'were copies'} of an earlier one and {'was' if one else 'were'} left out."
        )
        _note_other_labels(keys, {name: column.iloc[rows] for name, column in labels.items()}, notes)
        kept = np.flatnonzero(~again)
        return rows[kept], [contents[i] for i in kept], [keys[i] for i in kept]
    if again.any() and choice.rules > 1:
        notes.append(
            f"{these} {'is a copy' if one else 'are copies'} of an earlier one; all copies are in one split. Pass"
            " drop_duplicates=True (--drop-duplicates) to keep only the first of each."
        )
    return rows, contents, keys


def _images(frame: pd.DataFrame, content: str, choice: Choice, notes: list[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The images within the limit and the numbers of their rows, without those that cannot be read where that is asked for."""
    chosen = spread(len(frame), choice.limit)
    if len(chosen) < len(frame):
        notes.append(f"{len(chosen):,} of {len(frame):,} examples, evenly spread (limit={choice.limit}).")
    images, lost, rows = [], [], []
    for row in chosen.tolist():
        value = frame[content].iloc[row]
        try:
            images.append(read_image(value, choice.image_folder, row))
            rows.append(row)
        except UnreadableError:
            if not choice.drop_unreadable:
                raise
            lost.append(value if isinstance(value, str) else f"row {row}")
    if not images:
        raise DataError(f"None of the {len(chosen):,} images can be read; the first is {quote(lost[0])}: check image_folder=.")
    if lost:
        note = f"{len(lost):,} of {len(chosen):,} images cannot be read and were left out: {listing(lost)}."
        notes.append(note)
        warnings.warn(note, WorkbenchWarning, stacklevel=5)
    return np.array(rows), on_one_scale(images)


def _note_other_labels(keys: Sequence[str], labels: Mapping[str, pd.Series], notes: list[str]) -> None:
    """Note in how many dropped copies a label differs from that of the first."""
    first: dict[str, int] = {}
    place = np.array([first.setdefault(key, row) for row, key in enumerate(keys)])
    differ = {
        name: column.notna().to_numpy() & (column.to_numpy() != column.to_numpy()[place]) for name, column in labels.items()
    }
    names = [name for name, rows in differ.items() if rows.any()]
    if names:
        count = int(np.any([differ[name] for name in names], axis=0).sum())
        notes.append(
            f"{count:,} of the copies that were left out {'has' if count == 1 else 'have'} another label than the first, in"
            f" {listing(names)}: that of the first is kept."
        )


def _note_empty(frame: pd.DataFrame, taken: Collection[str], notes: list[str]) -> None:
    empty = [n for n in frame.columns if n.strip() and n not in taken and all(map(c.missing, c.cells(frame[n])))]
    if empty:
        several = len(empty) > 1
        notes.append(
            f"The column{'s' if several else ''} {listing(empty)} {'are' if several else 'is'} empty in every row, and"
            f" {'are no labels' if several else 'is no label'}."
        )


def note_missing(columns: Mapping[str, pd.Series], words: Collection[str], notes: list[str]) -> None:
    """Note how many cells of label and group columns hold a word for a missing value."""
    found = {name: words_of_column for name, column in columns.items() if (words_of_column := c.says_missing(column, words))}
    if found:
        count, every = (
            sum(map(len, found.values())),
            sorted({cell for cells in found.values() for cell in cells}),
        )
        cells = "cell says" if count == 1 else "cells say"
        notes.append(f"{count:,} {cells} {listing(every)} in {listing(found)}, and count as missing: {KEEP_WORDS}")


def finish(
    name: str,
    modality: Literal["text", "image"],
    table: pd.DataFrame,
    spans: pd.DataFrame,
    scope: np.ndarray,
    labels: Sequence[Label],
    source: dict[str, Any],
    notes: Sequence[str] = (),
    missing: Sequence[str] = MISSING_WORDS,
    given: Mapping[str, pd.Series] | None = None,
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
    return Dataset(
        name, modality, table, spans, scope, tuple(recounted), source, tuple(notes),
        missing_words=tuple(missing), given=dict(given or {}),
    )  # fmt: skip


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
            others = f", and row {found} does" if row != found else " that can be read"
            raise DataError(f"Row {row} (the first is 0) holds no conversation{others}: {error}") from error
        # A conversation without content counts as blank.
        cells[row] = read if any(message.content.strip() for message in read.messages) else None
    return objects(cells)


def _content(frame: pd.DataFrame, choice: Choice) -> tuple[Literal["text", "image"], str]:
    if choice.text is not None and choice.image is not None:
        raise DataError("Give text= or image=, not both: a data set holds texts or images.")
    if choice.text is not None:
        return "text", c.require_column(frame.columns, choice.text, "text")
    if choice.image is not None:
        return "image", c.require_column(frame.columns, choice.image, "image")
    modality, column = c.guess_content(frame)
    return ("text" if modality == "text" else "image"), column


def _label_names(frame: pd.DataFrame, asked: Sequence[str] | None, taken: set[str], words: Collection[str]) -> list[str]:
    if asked is None:
        return c.guess_labels(frame, taken | RESERVED, words)
    names = [c.require_column(frame.columns, name, "label") for name in asked]
    for name in names:
        if name in taken:
            raise DataError(f"The column {quote(name)} is already used for something else than a label: choose another.")
    return list(dict.fromkeys(names))


def _labels(
    frame: pd.DataFrame, names: Sequence[str], named: bool, words: Collection[str]
) -> tuple[list[Label], dict[str, pd.Series]]:
    labels, values = [], {}
    for name in names:
        if name in RESERVED:
            raise DataError(f"A label cannot be called {quote(name)}: rename the column, {quote(name + '_label')} for one.")
        values[name], label = c.read_label(frame[name], name, named, words)
        labels.append(label)
    return labels, values


def _without_blank(frame: pd.DataFrame, content: str, notes: list[str]) -> pd.DataFrame:
    blank = frame[content].map(_blank).to_numpy(dtype=bool)
    if blank.any():
        note = f"{int(blank.sum()):,} blank of {len(frame):,} rows were dropped."
        notes.append(note)
        warnings.warn(note, WorkbenchWarning, stacklevel=4)
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
            f"The {modality} in row {blank.index(True)} (the first is 0) is blank{more}: fill it in, or pass drop_blank=True"
            " (--drop-blank)."
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
        if c.half_character(value):
            raise DataError(
                f"The text in row {row} (the first is 0) holds half of a character (a lone surrogate): mend or remove it."
            )


def spread(n: int, limit: int | None) -> np.ndarray:
    """The numbers of ``limit`` rows of ``n``, evenly spread."""
    if limit is not None and limit < 1:
        raise DataError(f"limit={limit} leaves no examples: give 1 or more, or None for all.")
    if limit is None or limit >= n:
        return np.arange(n)
    return np.floor(np.arange(limit) * (n / limit)).astype(np.int64)
