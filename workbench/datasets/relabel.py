"""Other labels, groups and splits for the same examples, from columns that the data set kept or from another table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.datasets import columns as c
from workbench.datasets.columns import MISSING_WORDS, Label, listing, quote
from workbench.datasets.groups import ABOUT_GROUPS, arrange, content_keys
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
            has already is replaced.
        key: The column, of the table and of the data set, that says which example a row is of, such as an id. The texts
            themselves when left out.
        labels: The columns that are labels from now on, and no others. When left out, those that are labels now, and those of
            the table that look like labels.
        group: The column that says which examples belong together.
        split: The column with train, validation and test. Without it the splits stay as they are, unless they cut one of the new
            groups: then whole groups are dealt out anew.
        missing: Words that stand for no value; see :func:`workbench.load_dataset`.
        encoding: Of the file.

    Raises:
        DataError: A column is not there or cannot be used, or no row of the table is of an example.
    """
    from workbench.datasets.build import RESERVED, finish

    words = MISSING_WORDS if missing is None else tuple(missing)
    notes: list[str] = []
    frame = data.table.drop(columns=[data.modality])
    new: list[str] = []
    if table is not None:
        frame, new = _with_columns(data, frame, table, key, encoding, notes)
    known = {label.name: label for label in data.example_labels if label.name not in new}
    if labels is None:
        fresh = [name for name in new if name not in RESERVED and name not in {group, split}]
        names = [*known, *c.guess_labels(frame[fresh], (), words)]
    else:
        asked = [labels] if isinstance(labels, str) else list(labels)
        names = list(dict.fromkeys(_column(frame, name, "label") for name in asked))
    for name in names:
        if name in RESERVED:
            raise DataError(f"{quote(name)} cannot be a label: its name stands for something else here, so rename the column.")
    found: list[Label] = []
    for name in names:
        if name in known:
            found.append(known[name])
        else:
            frame[name], label = c.read_label(frame[name], name, labels is not None, words)
            found.append(label)
    said = list(data.notes)
    if group is not None or split is not None:
        said = [note for note in said if not note.startswith(ABOUT_GROUPS)]
        _arrange(data, frame, group, split, words, notes)
    result = pd.concat([data.table[[data.modality]], frame], axis=1)
    made = finish(data.name, data.modality, result, data.spans, data.span_scope, found, data.source, [*said, *notes])
    return made.with_earlier([*data.earlier, data.hash])


def _column(frame: pd.DataFrame, name: str, what: str) -> str:
    return c.require_column(frame.columns, name, what)


def _with_columns(
    data: Dataset, frame: pd.DataFrame, table: pd.DataFrame | str | Path, key: str | None, encoding: str | None, notes: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The columns of the data set and those of a table, by a key; and the names of the latter."""
    called = "The table" if isinstance(table, pd.DataFrame) else quote(Path(table).name)
    if not isinstance(table, pd.DataFrame):
        path = Path(table).expanduser()
        if not path.is_file():
            raise DataError(f"There is no file {quote(table)}: check the path.")
        table = read_table(path, encoding, notes)
    given = table.reset_index(drop=True)
    theirs, ours = _keys(data, frame, given, key)
    new = [str(name) for name in given.columns if name not in {theirs, data.modality}]
    if not new:
        raise DataError(f"{called} has no column besides {quote(theirs)}: there is nothing to add.")
    c.require_exact((v for v in given[theirs] if not c.missing(v)), theirs, "key")
    texts = ours.name == data.modality
    rows: dict[str, int] = {}
    for row, value in enumerate(given[theirs]):
        if c.missing(value):
            raise DataError(f"Row {row} (the first is 0) of {called} has no value in the key column {quote(theirs)}.")
        name = value if texts else c.class_text(value)
        first = rows.setdefault(name, row)
        if first != row and any(not _same(given[column].iloc[first], given[column].iloc[row]) for column in new):
            raise DataError(f"{called} has two rows for {quote(name)} that differ, {first} and {row}: keep one of them.")
    places = [rows.get(value if texts else c.class_text(value)) for value in ours]
    hits = sum(place is not None for place in places)
    if not hits:
        raise DataError(f"No row of {called} is of an example: none of its values of {quote(theirs)} is in the data set.")
    if hits < len(places):
        notes.append(f"{len(places) - hits:,} of {len(places):,} examples have no row in {called}: their values are missing.")
    if spare := len(set(rows) - {value if texts else c.class_text(value) for value in ours}):
        notes.append(f"{spare:,} {'row' if spare == 1 else 'rows'} of {called} match no example and were not used.")
    for column in new:
        cells = list(given[column])
        frame[column] = pd.Series([None if place is None else cells[place] for place in places], dtype=object, index=frame.index)
    return frame, new


def _keys(data: Dataset, frame: pd.DataFrame, given: pd.DataFrame, key: str | None) -> tuple[str, pd.Series]:
    """The key column of a table, and the values of the data set that it is held against."""
    if key is None or key == data.modality:
        name = data.source.get("text") or "text"
        if data.modality == "text" and (found := next((n for n in (key, name, "text") if n in given.columns), None)):
            return str(found), data.table["text"]
        shared = [name for name in map(str, given.columns) if name in frame.columns]
        raise DataError(
            f"Say with key= which column tells the example of a row; the table and the data set share {listing(shared)}."
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
    splits, said = found.splits, found.notes
    if split is None:
        sides = pd.DataFrame({"group": found.groups, "split": list(data.table["split"])})
        cut = int((sides.groupby("group")["split"].nunique() > 1).sum())
        if cut:
            said = [*said, f"{ABOUT_GROUPS}the splits cut {cut:,} of the new ones, so whole groups were dealt out anew."]
        else:
            splits, said = list(sides["split"]), []
    notes += said
    frame["group"], frame["split"] = found.groups, splits
