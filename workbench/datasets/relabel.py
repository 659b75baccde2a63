"""Other labels, groups and splits for the same examples, from columns that the data set kept or from another table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.datasets import columns as c
from workbench.datasets.build import KEEP_WORDS, RESERVED, finish, note_missing
from workbench.datasets.columns import Label, listing, quote
from workbench.datasets.groups import ABOUT_GROUPS, ABOUT_SPLITS, arrange, content_keys
from workbench.datasets.readers import read_table
from workbench.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from workbench.datasets.dataset import Dataset


def relabel(
    data: Dataset,
    table: pd.DataFrame | str | Path | None = None,
    *,
    key: str | None = None,
    labels: str | Sequence[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    missing: Sequence[str] | None = None,
    encoding: str | None = None,
) -> Dataset:
    """The same examples, in the same order, with other labels, groups or splits.

    Args:
        data: The data set; it stays as it is.
        table: Where further columns come from: a DataFrame, or a .csv, .tsv, .jsonl or .parquet file. A column that the data set
            has already is replaced; one called split or group is kept as "split column" or "group column", and used only where
            ``split`` or ``group`` name it.
        key: The column, of the table and of the data set, that says which example a row is of, such as an id. The texts
            themselves when left out.
        labels: The columns that are labels from now on, with classes, and no others. When left out, those that are labels now,
            and those of the table that look like labels.
        group: The column that says which examples belong together.
        split: The column with train, validation and test. Without it the splits stay as they are, unless they cut one of the new
            groups: then whole groups are dealt out anew.
        missing: Words that stand for no value, from now on; see :func:`workbench.load_dataset`. Those of the data set when left
            out.
        encoding: Of the file.

    Raises:
        DataError: A column is not there or cannot be used, or no row of the table is of an example.
    """
    notes: list[str] = []
    frame = data.table.drop(columns=[data.modality])
    called: dict[str, str] = {}
    if table is not None:
        frame, called = _with_columns(data, frame, table, key, encoding, {group, split}, notes)
    group, split = (name if name is None else called.get(name, name) for name in (group, split))
    known = [label.name for label in data.example_labels if label.name not in called]
    words = data.missing_words if missing is None else tuple(missing)
    if labels is None:
        fresh = [name for name in called.values() if name not in {group, split}]
        asked: list[str] = []
        names = [*known, *c.guess_labels(frame[fresh], RESERVED, words)]
    else:
        asked = [labels] if isinstance(labels, str) else list(labels)
        names = list(dict.fromkeys(_column(frame, name, "label") for name in asked))
    found, given = _read_labels(data, frame, names, asked, set(called), words, notes)
    kept_notes = [note for note in data.notes if missing is None or not note.endswith(KEEP_WORDS)]
    if group is not None or split is not None:
        kept_notes = [note for note in kept_notes if not note.startswith((ABOUT_GROUPS, ABOUT_SPLITS))]
        _arrange(data, frame, group, split, words, notes)
    return _relabelled(data, frame, found, given, [*kept_notes, *notes], words)


def with_labels(data: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with these columns of its table as labels with classes, beside the labels that it has."""
    notes: list[str] = []
    frame = data.table.drop(columns=[data.modality])
    every = list(dict.fromkeys([*(label.name for label in data.example_labels), *names]))
    found, given = _read_labels(data, frame, every, names, set(), data.missing_words, notes)
    return _relabelled(data, frame, found, given, [*data.notes, *notes], data.missing_words)


def _relabelled(
    data: Dataset, frame: pd.DataFrame, found: list[Label], given: dict[str, pd.Series], notes: list[str], words: tuple[str, ...]
) -> Dataset:
    table = pd.concat([data.table[[data.modality]], frame], axis=1)
    notes = list(dict.fromkeys(notes))
    relabelled = finish(data.name, data.modality, table, data.spans, data.span_scope, found, data.source, notes, words, given)
    return relabelled.with_earlier([*data.earlier, data.hash])


def _read_labels(
    data: Dataset,
    frame: pd.DataFrame,
    names: Sequence[str],
    asked: Collection[str],
    new: Collection[str],
    words: tuple[str, ...],
    notes: list[str],
) -> tuple[list[Label], dict[str, pd.Series]]:
    """The labels of these columns, whose values are put into the frame, and the cells as they were given.

    A label that is one already is read again only where other words stand for a missing value, or where a quantity is ``asked``
    for, which has classes then. Columns that are labels no longer have the cells that they were given with.
    """
    known = {label.name: label for label in data.example_labels if label.name not in new}
    before = {name: cells for name, cells in data.given.items() if name not in new}
    for name, cells in before.items():
        if name not in names:
            frame[name] = cells
    found: list[Label] = []
    read: dict[str, pd.Series] = {}
    for name in names:
        if name in RESERVED:
            raise DataError(f"{quote(name)} cannot be a label: its name stands for something else here, so rename the column.")
        label = known.get(name)
        if label is None or words != data.missing_words or (label.kind == "numeric" and name in asked):
            read[name] = before.get(name, frame[name])
            named = name in asked or (label is not None and label.kind == "class")
            frame[name], label = c.read_label(read[name], name, named, words)
        found.append(label)
    note_missing(read, words, notes)
    return found, {name: cells for name in names if c.says_missing(cells := read.get(name, before.get(name, frame[name])), words)}


def _column(frame: pd.DataFrame, name: str, what: str) -> str:
    return c.require_column(frame.columns, name, what)


def _with_columns(
    data: Dataset,
    frame: pd.DataFrame,
    table: pd.DataFrame | str | Path,
    key: str | None,
    encoding: str | None,
    used: Collection[str | None],
    notes: list[str],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns of the data set joined with those of a table by a key, and the names that the latter get."""
    called = "The table" if isinstance(table, pd.DataFrame) else quote(Path(table).name)
    if not isinstance(table, pd.DataFrame):
        path = Path(table).expanduser()
        if not path.is_file():
            raise DataError(f"There is no file {quote(table)}: check the path.")
        table = read_table(path, encoding, notes)
    c.check_columns(table.columns)
    given = table.reset_index(drop=True)
    given.columns = list(map(str, given.columns))
    theirs, ours = _keys(data, frame, given, key)
    new = [name for name in given.columns if name not in {theirs, data.modality}]
    if not new:
        raise DataError(f"{called} has no column besides {quote(theirs)}: there is nothing to add.")
    places = _places(data, given, theirs, ours, new, called, notes)
    names = {name: c.kept_name(name, new) if name in {"split", "group"} else name for name in new}
    for column, name in names.items():
        if name != column and column not in used:
            notes.append(
                f"The column {quote(column)} of {called} is kept as {quote(name)}, and the {column}s stay as they are: to use it,"
                f' pass {column}="{column}" (--{column} {column}) as well.'
            )
        cells = c.cells(given[column])
        frame[name] = pd.Series([None if place is None else cells[place] for place in places], dtype=object, index=frame.index)
    return frame, names


def _places(
    data: Dataset, given: pd.DataFrame, theirs: str, ours: pd.Series, new: Sequence[str], called: str, notes: list[str]
) -> list[int | None]:
    """The row of the table for every example."""
    keys = c.cells(given[theirs])
    texts = ours.name == data.modality
    blank = next((row for row, value in enumerate(keys) if c.missing(value)), None)
    if blank is not None:
        raise DataError(f"Row {blank} (the first is 0) of {called} has no value in the key column {quote(theirs)}.")
    mine = list(ours)
    if not texts:
        c.require_exact(keys, theirs, "key")
        keys, mine = c.identifiers(keys), _own_keys(ours, theirs)
    rows: dict[str, int] = {}
    for row, name in enumerate(keys):
        first = rows.setdefault(name, row)
        if first != row and any(not _same(given[column].iloc[first], given[column].iloc[row]) for column in new):
            raise DataError(f"{called} has two rows for {quote(name)} that differ, {first} and {row}: keep one of them.")
    places = [rows.get(name) for name in mine]
    hits = sum(place is not None for place in places)
    if not hits:
        raise DataError(f"No row of {called} is of an example: none of its values of {quote(theirs)} is in the data set.")
    if hits < len(places):
        notes.append(f"{len(places) - hits:,} of {len(places):,} examples have no row in {called}: their values are missing.")
    if spare := len(set(rows) - set(mine)):
        notes.append(f"{spare:,} {'row' if spare == 1 else 'rows'} of {called} match no example and were not used.")
    return places


def _own_keys(column: pd.Series, name: str) -> list[str]:
    values = c.cells(column)
    present = [value for value in values if not c.missing(value)]
    c.require_exact(present, name, "key")
    names = iter(c.identifiers(present))
    return ["" if c.missing(value) else next(names) for value in values]


def _keys(data: Dataset, frame: pd.DataFrame, given: pd.DataFrame, key: str | None) -> tuple[str, pd.Series]:
    """The key column of a table, and the values of the data set that it is matched with."""
    if key is None or key == data.modality:
        name = data.source.get("text") or "text"
        if data.modality == "text" and (found := next((n for n in (key, name, "text") if n in given.columns), None)):
            return str(found), data.table["text"]
        shared = [name for name in map(str, given.columns) if name in frame.columns]
        raise DataError(
            f"Say with key= (--key) which column tells the example of a row; the table and the data set share {listing(shared)}."
        )
    theirs = c.require_column(given.columns, key, "key")
    if key not in frame.columns:
        raise UnknownNameError("kept column of the data set", key, map(str, frame.columns))
    return theirs, frame[key]


def _same(one: Any, other: Any) -> bool:
    return (c.missing(one) and c.missing(other)) or c.class_text(one) == c.class_text(other)


def _arrange(
    data: Dataset, frame: pd.DataFrame, group: str | None, split: str | None, words: Collection[str], notes: list[str]
) -> None:
    """Put the groups and splits of the chosen columns into the frame."""
    keys = content_keys(data.inputs(), data.modality)
    grouped = "group" if group is None else _column(frame, group, "group")
    own = None if split is None else _column(frame, split, "split")
    found = arrange(frame, keys, data.modality, grouped, own, words, rules=2)
    if split is None:
        sides = pd.DataFrame({"group": found.groups, "split": list(data.table["split"])})
        cut = int((sides.groupby("group")["split"].nunique() > 1).sum())
        if cut:
            notes.append(f"{ABOUT_GROUPS}the splits cut {cut:,} of the new ones, so whole groups were dealt out anew.")
        else:
            found = arrange(frame, keys, data.modality, grouped, "split", words, rules=2)
    notes += found.notes
    frame["group"], frame["split"] = found.groups, found.splits
