"""Reading Parquet files from elsewhere: their size in memory is bounded before they are read.

A small file can unpack to any size, because a text that repeats is stored once.
"""

from __future__ import annotations

import atexit
from collections import Counter
from functools import cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.errors import DataError
from workbench.memory import free_memory, size_text
from workbench.paths import is_file, odd, shown
from workbench.shapes import ShapeError, parse_json

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

ALWAYS_BYTES, MOST_TIMES = 256 * 2**20, 500
"""What a table may take in memory whatever the length of its file, and how many times that length otherwise."""
_CELL_BYTES = 8
# How a column of texts lies in a file from which it comes out no larger than it is declared to be.
_PLAIN = frozenset({"PLAIN", "RLE", "BIT_PACKED"})


def read_table(path: Path) -> Any:
    """The Arrow table of a file.

    Raises:
        DataError: It is no whole Parquet file, or unpacks to more than it may.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_file(path.resolve()):
        raise DataError(f"{shown(path.name)} is {odd(path.resolve()) or 'no file'}: give a Parquet file.")
    try:
        with pq.ParquetFile(path) as file:
            require_memory(file, path)
            return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{shown(path.name)} is not a whole Parquet file: write it again.") from error


def read_parquet(path: Path) -> pd.DataFrame:
    """The table of a file that pandas wrote. Errors are those of :func:`read_table`."""
    import pyarrow as pa

    table = read_table(path)
    _check_names(table, path)
    try:
        return table.to_pandas()
    except (pa.ArrowException, LookupError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise DataError(f"{shown(path.name)} is no table that pandas wrote: write it again.") from error


def _check_names(table: Any, path: Path) -> None:
    """Hold the names of a table's columns, and what pandas noted of them, to what the workbench writes.

    Names of several levels are kept as texts that pandas evaluates.
    """
    name, times = next(iter(Counter(table.column_names).most_common(1)), ("", 0))
    if times > 1:
        raise DataError(f"{shown(path.name)} has {times:,} columns called {shown(name)}: write it again.")
    try:
        noted = parse_json((table.schema.metadata or {}).get(b"pandas", b"{}"), numbers=False)
        levels = noted.get("column_indexes") or []
    except (ShapeError, AttributeError):
        levels = None
    if not isinstance(levels, list) or len(levels) > 1:
        raise DataError(f"{shown(path.name)} is no table that the workbench writes, with names of one level: write it again.")


@cache
def database() -> DuckDBPyConnection:
    """A DuckDB in memory that holds nothing: to open one takes ten times as long as to read some rows. Threads have cursors."""
    import duckdb

    # Closed at exit: the library would report an open database as a leak.
    atexit.register(database.cache_clear)
    return duckdb.connect()


class _Chunk(NamedTuple):
    """What a file says of one column in one group of rows."""

    group: int
    column: int
    kind: str
    values: int
    unpacked: int
    encodings: str


def _chunks(path: Path) -> list[_Chunk]:
    """What a file says of its columns. Read by DuckDB: Arrow ends the process where the statistics of a column make no sense."""
    import duckdb

    query = (
        "select row_group_id, column_id, type, num_values, total_uncompressed_size, coalesce(encodings, '')"
        " from parquet_metadata(?)"
    )
    try:
        with database().cursor() as cursor:
            return [_Chunk(*row) for row in cursor.execute(query, [escape(str(path))]).fetchall()]
    except (duckdb.Error, UnicodeError) as error:
        raise DataError(f"{shown(path.name)} is not a whole Parquet file: write it again.") from error


def require_memory(file: Any, path: Path) -> None:
    """Hold what a file unpacks to against its length and the free memory.

    Args:
        file: The open ``pyarrow.parquet.ParquetFile``.
        path: Its path.

    Raises:
        DataError: It unpacks to too much.
    """
    length, free = path.stat().st_size, free_memory()

    def hold(needed: int) -> None:
        if needed > free or needed > max(ALWAYS_BYTES, length * MOST_TIMES):
            raise DataError(
                f"{shown(path.name)} has {size_text(length)} and unpacks to {size_text(needed)} or more, with"
                f" {size_text(free)} of memory free: it is not read. Split it, or write it again without what repeats."
            )

    facts, needed, packed = file.metadata, 0, []
    for chunk in _chunks(path):
        needed += max(chunk.unpacked, chunk.values * _CELL_BYTES)
        encodings = set(chunk.encodings.split(", "))
        if chunk.kind in {"BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"} and not encodings <= _PLAIN:
            packed.append((chunk.group, chunk.column, chunk.values * chunk.unpacked, encodings))
    hold(max(needed, facts.num_rows * _CELL_BYTES))
    # No value is longer than all that its column holds.
    if needed + sum(most for _, _, most, _ in packed) <= ALWAYS_BYTES:
        return
    for group, column, most, encodings in packed:
        if encodings & {"DELTA_BYTE_ARRAY"}:
            hold(needed + most)
        needed += _unpacked(file, path, group, column)
        hold(needed)


def _unpacked(file: Any, path: Path, group: int, column: int) -> int:
    """Bytes of the values of one column of texts, which is read as numbers of a dictionary and not unpacked."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    name = file.schema.column(column).path
    with pq.ParquetFile(path, read_dictionary=[name]) as coded:
        found = coded.read_row_group(group, columns=[name]).column(0)
    total = 0
    for chunk in found.chunks:
        values = chunk
        while not hasattr(values, "dictionary") and hasattr(values, "flatten") and values.type.num_fields:
            # Lists and structures hold the column that was asked for, and nothing else.
            parts = values.flatten()
            values = parts[0] if isinstance(parts, list) else parts
        if hasattr(values, "dictionary") and len(values.dictionary):
            lengths = pc.binary_length(values.dictionary).cast("int64")
            total += int(pc.sum(pc.take(lengths, values.indices)).as_py() or 0)
    return total
