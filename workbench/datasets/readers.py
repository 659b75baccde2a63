"""Tables from files: CSV, TSV, JSON Lines and Parquet, as columns of plain values."""

from __future__ import annotations

import codecs
import csv
import io
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import parquet
from workbench.datasets.columns import check_columns, half_character, quote
from workbench.errors import DataError
from workbench.memory import free_memory, size_text
from workbench.shapes import ShapeError, parse_json

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LOOKED_AT = 20
# Byte order marks; UTF-32 first, because its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Some spreadsheets write the delimiter in the first line.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
# Copies in memory per byte of a text file: its bytes, its characters, and its rows.
_TEXT_TIMES = 4


class EncodingError(DataError):
    """A file whose bytes are not text in the encoding."""


def read_table(path: Path, encoding: str | None = None, notes: list[str] | None = None) -> pd.DataFrame:
    """The table in a file, by its suffix; integers and texts exactly as they are written.

    Remarks on how it was read are added to ``notes``. DataError, in one sentence, where it cannot be read.
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
    """A file's text, every character kept. The encoding is detected (UTF-8, UTF-16 or UTF-32) unless ``encoding`` is given."""
    size, free = path.stat().st_size, free_memory()
    if size * _TEXT_TIMES > free:
        raise DataError(
            f"{quote(path.name)} has {size_text(size)}, and {size_text(free)} of memory are free: split it, or write Parquet."
        )
    raw = path.read_bytes()
    chosen = encoding or next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None) or _without_mark(raw[:4])
    try:
        # A byte order mark is not part of the text, whatever encoding was given.
        return raw.decode(chosen).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"There is no encoding {quote(chosen)}: try utf-8, utf-16, cp1252 or latin-1.") from error
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = raw[:start].count(b"\n") + 1
        named = "UTF-8" if chosen == "utf-8-sig" else chosen
        raise EncodingError(
            f"{quote(path.name)} is not {named}: line {line} holds a byte that does not belong;"
            ' save it as UTF-8, or pass its encoding, such as encoding="cp1252" (--encoding cp1252).'
        ) from error


def _without_mark(first: bytes) -> str:
    """The encoding of a file without a mark, by where NUL bytes stand in its first two characters."""
    found = {"x000": "utf-32-le", "000x": "utf-32-be", "x0x0": "utf-16-le", "0x0x": "utf-16-be"}
    return found.get("".join("x" if byte else "0" for byte in first), "utf-8-sig")


def _delimiters(text: str, usual: str) -> list[str]:
    """What may separate the columns, best first: the usual, and others by which the header and the first rows agree on columns.

    The usual comes first unless it gives no columns and another does; of others, the one that gives most. Every row looked at
    must have as many fields as the header; if there is no such delimiter, and the usual is not in the header, most rows.
    """
    columns: dict[str, int] = {}
    mostly: dict[str, int] = {}
    for delimiter in sorted(DELIMITERS, key=lambda one: one != usual):
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header, *counts = [len(row) for row in islice(rows, _LOOKED_AT + 1) if row]
        except (csv.Error, ValueError):
            continue
        if set(counts) <= {header}:
            columns[delimiter] = header
        if delimiter != usual or header > 1:
            mostly[delimiter] = header if 2 * counts.count(header) >= len(counts) else 1
    fitting = [delimiter for delimiter, count in columns.items() if count > 1]
    if not fitting and usual not in mostly:
        # A row that is cut short or has a field too many: by line, it is filled up or refused.
        columns, fitting = mostly, [delimiter for delimiter, count in mostly.items() if count > 1]
    return sorted(fitting, key=lambda delimiter: (delimiter != usual, -columns[delimiter])) or [usual]


def _read_delimited(path: Path, usual: str, encoding: str | None, notes: list[str]) -> pd.DataFrame:
    text = read_text(path, encoding)
    separator_line = _SEPARATOR_LINE.match(text)
    text = text[separator_line.end() :] if separator_line else text
    if not text.strip():
        raise DataError(f"{quote(path.name)} is empty: it has no rows.")
    # Python's reader keeps NUL characters and line ends inside quotes; its limit on a field guards other
    # programs' memory.
    before = csv.field_size_limit(len(text) + 1)
    try:
        separator, *others = [separator_line[1]] if separator_line else _delimiters(text, usual)
        fit = f", though {DELIMITERS[others[0]]} would give columns as well" if others else ""
        if separator != usual or others:
            notes.append(f"The columns of {path.name} are separated by {DELIMITERS.get(separator, quote(separator))}{fit}.")
        header, rows = _rows_of(path, text, separator, notes)
    finally:
        csv.field_size_limit(before)
    columns = [pd.Series([row[i] if i < len(row) else None for row in rows], dtype=object) for i in range(len(header))]
    return pd.DataFrame(dict(zip(header, columns, strict=True)))


def _rows_of(path: Path, text: str, separator: str, notes: list[str]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a file; empty lines are skipped.

    Quotes stand round fields. Between tabs they need not: where every line has as many fields as the header, none is in quotes,
    and a quote at the beginning of one would take in whole lines or is closed nowhere, quotes are characters of the text.
    Otherwise a quote that takes in lines which could stand by themselves is read as one, with a note.
    """
    try:
        rows = _parsed(path, text, separator, csv.QUOTE_MINIMAL)
    except DataError:
        if separator != "\t" or (plain := _plain_rows(path, text, separator)) is None or _in_quotes(plain):
            raise
        rows = []
    else:
        lines = any(separator in field and ("\n" in field or "\r" in field) for row in rows for field in row)
        plain = _plain_rows(path, text, separator) if lines else None
    if plain is not None and separator == "\t" and not _in_quotes(plain):
        notes.append(f"Quotes in {path.name} are read as characters: as quotes round fields they would take in whole lines.")
        rows = plain
    elif plain is not None:
        notes.append(
            f"A quote in {path.name} takes in whole lines: {len(plain) - len(rows):,} of {len(plain) - 1:,} are in the field of"
            " another. If that is wrong, double the quotes that belong to a text, and put quotes round that text."
        )
    return rows[0], rows[1:]


def _plain_rows(path: Path, text: str, separator: str) -> list[list[str]] | None:
    """The rows with quotes as characters, if every line has as many fields as the header, two or more."""
    try:
        rows = _parsed(path, text, separator, csv.QUOTE_NONE)
    except DataError:
        return None
    return rows if len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows) else None


def _in_quotes(rows: list[list[str]]) -> bool:
    return any(len(field) > 1 and field[0] == field[-1] == '"' for row in rows for field in row)


def _parsed(path: Path, text: str, separator: str, quoting: Any) -> list[list[str]]:
    """The header and the rows. DataError, with the line, for one that has more fields than the header, or a faulty quote."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, quoting=quoting)
    found: list[list[str]] = []
    try:
        for row in rows:
            if not row or (not found and not any(field.strip() for field in row)):
                continue
            if not found:
                check_columns(row)
            elif len(row) > len(found[0]):
                raise DataError(
                    f"Line {rows.line_num} of {quote(path.name)} has {len(row)} fields where the header"
                    f" has {len(found[0])}:"
                    " put quotes round a text that holds the separator."
                )
            found.append(row)
    except csv.Error as error:
        if "end of data" in str(error):
            raise DataError(
                f"{quote(path.name)} cannot be read: a quote in it is opened and never closed. Close it, or write two for one."
            ) from error
        raise DataError(f"Line {rows.line_num} of {quote(path.name)} cannot be read: {error}.") from error
    if not found:
        raise DataError(f"{quote(path.name)} is empty: it has no rows.")
    return found


def _read_json_lines(path: Path, encoding: str | None) -> pd.DataFrame:
    records = []
    # Only a line feed ends a record: JSON strings may hold the other line ends that str.splitlines knows.
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = parse_json(line, numbers=False, halves=True)
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
    if half := next((name for name in names if half_character(name)), None):
        shown = quote(half.encode("ascii", "backslashreplace").decode())
        raise DataError(f"The name of the column {shown} holds half of a character (a lone surrogate): rename it.")
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
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            # Some programs write texts as plain bytes; images are not valid UTF-8 and stay bytes.
            with suppress(pa.ArrowInvalid):
                values = values.cast(pa.large_string())
        # pandas would convert integers with nulls to floats, which changes integers of 19 digits.
        exact = pa.types.is_integer(values.type) and not values.null_count
        if pa.types.is_floating(values.type) or exact:
            columns[name] = values.to_pandas()
        else:
            try:
                columns[name] = pd.Series(values.to_pylist(), dtype=object)
            except UnicodeDecodeError as error:
                raise DataError(f"The column {quote(name)} holds a text that is not in UTF-8: write the table again.") from error
    return pd.DataFrame(columns)
