"""Tables from files: CSV, TSV, JSON Lines and Parquet, as columns of plain values."""

from __future__ import annotations

import codecs
import csv
import io
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import parquet
from workbench.datasets.build import check_columns
from workbench.datasets.columns import quote
from workbench.errors import DataError
from workbench.memory import free_memory, size_text
from workbench.shapes import ShapeError, parse_json

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LOOKED_AT = 20
# Of a text file: its bytes, its characters, and the rows that are made of them.
_TEXT_TIMES = 4


class EncodingError(DataError):
    """A file whose bytes are not text in the encoding."""


def read_table(path: Path, encoding: str | None = None, notes: list[str] | None = None) -> pd.DataFrame:
    """The table in a file, by its suffix; integers and texts exactly as they are written.

    What a person should know of how it was read is added to ``notes``. DataError, in one sentence, where it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in {".csv", ".tsv"}:
        return _read_delimited(path, "," if suffix == ".csv" else "\t", encoding, [] if notes is None else notes)
    if suffix == ".jsonl":
        return _read_json_lines(path, encoding)
    if suffix == ".parquet":
        return _read_parquet(path)
    raise DataError(
        f"{quote(path.name)} is of a kind that cannot be read: use {', '.join(SUFFIXES)}, or a folder of texts or images."
    )


def read_text(path: Path, encoding: str | None = None) -> str:
    """A file's text, every character kept. UTF-8, or UTF-16 with its mark, unless ``encoding`` says
    otherwise.
    """
    size, free = path.stat().st_size, free_memory()
    if size * _TEXT_TIMES > free:
        raise DataError(
            f"{quote(path.name)} has {size_text(size)}, and {size_text(free)} of memory are free: split it, or write Parquet."
        )
    raw = path.read_bytes()
    if encoding is None:
        utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        chosen = "utf-16" if utf16 else "utf-8-sig"
    else:
        chosen = encoding
    try:
        # A byte order mark is no part of the text, whatever the encoding was said to be.
        return raw.decode(chosen).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"There is no encoding {quote(chosen)}: try utf-8, utf-16, cp1252 or latin-1.") from error
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = raw[:start].count(b"\n") + 1
        named = "UTF-8" if chosen == "utf-8-sig" else chosen
        raise EncodingError(
            f"{quote(path.name)} is not {named}: line {line} holds a byte that does not belong;"
            ' save it as UTF-8, or pass its encoding, such as encoding="cp1252".'
        ) from error


def _delimiter(text: str, usual: str) -> str:
    """What separates the columns: the usual, unless the header and the first rows agree on columns by another.

    Of the others, the one that gives most columns; every row looked at must have as many fields as the header.
    """
    columns: dict[str, int] = {}
    for delimiter in sorted(DELIMITERS, key=lambda one: one != usual):
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            counts = {len(row) for row in islice(rows, _LOOKED_AT + 1) if row}
        except csv.Error:
            continue
        if len(counts) == 1:
            columns[delimiter] = counts.pop()
    if columns.get(usual, 0) > 1 or not columns:
        return usual
    best = max(columns, key=lambda delimiter: columns[delimiter])
    return best if columns[best] > 1 else usual


def _read_delimited(path: Path, usual: str, encoding: str | None, notes: list[str]) -> pd.DataFrame:
    text = read_text(path, encoding)
    if not text.strip():
        raise DataError(f"{quote(path.name)} is empty: it has no rows.")
    # Python's reader keeps NUL characters and line ends inside quotes; its limit on a field guards other
    # programs' memory.
    before = csv.field_size_limit(len(text) + 1)
    try:
        separator = _delimiter(text, usual)
        if separator != usual:
            notes.append(f"The columns of {path.name} are separated by {DELIMITERS[separator]}.")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = next(rows)
        check_columns(header)
        columns: list[list[str | None]] = [[] for _ in header]
        for row in rows:
            if not row:
                continue
            if len(row) > len(header):
                raise DataError(
                    f"Line {rows.line_num} of {quote(path.name)} has {len(row)} fields where the header"
                    f" has {len(header)}:"
                    " put quotes round a text that holds the separator."
                )
            for i, column in enumerate(columns):
                column.append(row[i] if i < len(row) else None)
    except csv.Error as error:
        raise DataError(f"Line {rows.line_num} of {quote(path.name)} cannot be read: {error}.") from error
    finally:
        csv.field_size_limit(before)
    return pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in zip(header, columns, strict=True)})


def _read_json_lines(path: Path, encoding: str | None) -> pd.DataFrame:
    records = []
    # Only a line feed ends a record: JSON strings may hold the other line ends that str.splitlines knows.
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, numbers=False)
        except ShapeError as error:
            raise DataError(f"Line {number} of {quote(path.name)} cannot be read: {error}.") from error
        if not isinstance(record, dict):
            raise DataError(f"Line {number} of {quote(path.name)} is no JSON object: write one {{...}} a line.")
        check_columns(list(record))
        records.append(record)
    if not records:
        raise DataError(f"{quote(path.name)} is empty: it has no rows.")
    return table_of_records(records)


def table_of_records(records: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of dictionaries; a key that one lacks is a missing value."""
    names = dict.fromkeys(name for record in records for name in record)
    return pd.DataFrame({name: pd.Series([r.get(name) for r in records], dtype=object) for name in names})


def _read_parquet(path: Path) -> pd.DataFrame:
    return read_arrow(parquet.read_table(path))


def read_arrow(table: Any) -> pd.DataFrame:
    """An Arrow table with its values as they are: floats as numbers, and all else exact."""
    import pyarrow as pa

    check_columns(table.column_names)
    columns = {}
    for name in table.column_names:
        values = table[name]
        # Integers with nulls would become floats in pandas, and those of 19 digits other integers.
        exact = pa.types.is_integer(values.type) and not values.null_count
        if pa.types.is_floating(values.type) or exact:
            columns[name] = values.to_pandas()
        else:
            columns[name] = pd.Series(values.to_pylist(), dtype=object)
    return pd.DataFrame(columns)
