"""Inspect a catalog from elsewhere before it is opened: read-only, without its side files, and with a bound on the work.

Only tables that are ours are read. Triggers, views, virtual tables, generated columns and defaults are never run: what a database
holds of them is seen in the text of its schema.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as dialect

from workbench.errors import StudyError
from workbench.paths import odd, shown
from workbench.store.members import CATALOG
from workbench.store.rows import Row, problem_of
from workbench.store.tables import metadata

# The magic bytes at the start of every rollback journal, which also end one that names a super-journal.
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
SIDE_FILES = ("-journal", "-wal", "-shm")
_TABLES = metadata.tables
_COLUMNS = {name: {column.name for column in table.columns} for name, table in _TABLES.items()}
_TYPES = {
    word
    for table in _TABLES.values()
    for column in table.columns
    for word in re.findall(r"[a-z]+", column.type.compile(dialect=dialect.dialect()).lower())
}
_WORDS = {"create", "table", "not", "null", "primary", "key", "foreign", "references"} | _TYPES
_TOKEN = re.compile(r'"[^"]*"|\w+|\S')
_INDEX = re.compile(r"create index (\w+) on (\w+) \( \w+(?: , \w+)* \)")
_STEPS = 100_000
_STEPS_A_BYTE, _LEAST_STEPS = 10, 10_000_000


def side_files(folder: Path) -> list[str]:
    """The side files of a study's catalog that hold something, from which SQLite would change it when it is opened.

    Raises:
        StudyError: The catalog or one of them is a link or a pipe.
    """
    found = []
    for ending in ("", *SIDE_FILES):
        path = folder / f"{CATALOG}{ending}"
        if (problem := "a folder" if path.is_dir() and not path.is_symlink() else odd(path)) is not None:
            raise StudyError(f"{path} is {problem}: the study is not opened. Put a file in its place.")
        if ending == "-journal" and names_another(path):
            raise StudyError(
                f"{path} names a journal of several databases, and SQLite would remove that file: the study is not opened, and"
                " the workbench writes no such journal. Remove it, or fetch the study again."
            )
        # SQLite rebuilds the shared-memory index (-shm) whatever is in it.
        if ending in {"-journal", "-wal"} and path.exists() and path.stat().st_size:
            found.append(path.name)
    return found


def names_another(journal: Path) -> bool:
    """Whether a rollback journal names a super-journal (of several databases), a file that SQLite would delete."""
    if not journal.exists() or (size := journal.stat().st_size) < len(_JOURNAL_MAGIC):
        return False
    with journal.open("rb") as file:
        file.seek(size - len(_JOURNAL_MAGIC))
        return file.read() == _JOURNAL_MAGIC


def look(path: Path, called: str) -> None:
    """Check that a catalog holds our tables with valid rows, and nothing else. A missing file passes.

    Raises:
        StudyError: It holds something else, or is damaged.
    """
    for attempt in range(3):
        before = _state(path)
        try:
            if before is not None:
                _look(path, called)
        except StudyError:
            # It was written to in the meantime, so what was read may be inconsistent.
            if _state(path) == before or attempt == 2:
                raise
        else:
            return


def _look(path: Path, called: str) -> None:
    advice = f"Copy what is ours of it into a study of your own: `workbench unpack {called} NEW`."
    with reading(path, called) as connection:
        for table in present(connection, called, advice):
            for row, problem in rows(connection, table, path.stat().st_size):
                if problem:
                    raise StudyError(
                        f"The catalog of {called} is not as the workbench writes it: in {table.name}, {problem}. {advice}"
                    )
                del row


@contextmanager
def reading(path: Path, called: str, ahead: bool = False) -> Iterator[sqlite3.Connection]:
    """A read-only connection whose work is bounded by the size of the file.

    Args:
        path: The database.
        called: What it is called in errors.
        ahead: Read the write-ahead log too, as in a copy that we made; otherwise no side file is read or created.

    Raises:
        StudyError: It is no database, is damaged, or takes too much work to read.
    """
    size = path.stat().st_size
    how = "mode=rw" if ahead else "mode=ro&immutable=1"
    left = (_LEAST_STEPS + size * _STEPS_A_BYTE) // _STEPS

    def count() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True, isolation_level=None)
        connection.set_progress_handler(count, _STEPS)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 2**20) * 2)
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON"):
            connection.execute(f"PRAGMA {setting}")
        # Texts that are not UTF-8 are reported with their row.
        connection.text_factory = lambda content: content.decode(errors="surrogateescape")
        yield connection
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        # The driver decodes SQLite's messages, which may quote a name of the schema that is not UTF-8.
        raise StudyError(f"The catalog of {called} is damaged ({error}): restore catalog.db from a copy.") from error
    finally:
        if connection is not None:
            connection.close()


def present(connection: sqlite3.Connection, called: str, advice: str = "") -> list[sa.Table]:
    """The tables of ours that a catalog has, ordered so that referenced tables come first.

    Raises:
        StudyError: ``advice`` is given and the catalog has something that is not ours; otherwise that is ignored.
    """
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall():
        problem = _foreign(str(kind), str(name), str(table), sql)
        if problem and advice:
            raise StudyError(f"The catalog of {called} holds {problem}, which is none of ours: it is not opened. {advice}")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    there = {name for (name,) in tables}
    virtual = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage = 0")
    found = [table for table in metadata.sorted_tables if table.name in there - {name for (name,) in virtual}]
    for table in found if advice else ():
        if problem := _constraint(connection, table):
            raise StudyError(f"The catalog of {called} is not as the workbench makes it: {problem}. {advice}")
    return found


def rows(connection: sqlite3.Connection, table: sa.Table, size: int) -> Iterator[tuple[Row, str]]:
    """Each row of a table, with what is wrong with it; an empty text where nothing is.

    Args:
        connection: As :func:`reading` gives it.
        table: One of ours; columns that the database lacks are left out.
        size: Bytes of the database, which bound how many rows there can be.
    """
    facts = connection.execute(f'PRAGMA table_xinfo("{table.name}")').fetchall()
    # A hidden column is generated: reading it would evaluate an expression from the file.
    columns = [fact[1] for fact in facts if fact[1] in _COLUMNS[table.name] and not fact[6]]
    most = size // (len(columns) + 4)
    named = ", ".join(f'"{name}"' for name in columns)
    for number, values in enumerate(connection.execute(f'SELECT {named} FROM "{table.name}"') if columns else ()):
        if number > most:
            raise sqlite3.DatabaseError("it has more rows than bytes")
        row = dict(zip(columns, values, strict=True))
        yield row, problem_of(table, row)


def _foreign(kind: str, name: str, table: str, sql: object) -> str:
    """A description of a schema entry that is not ours, or an empty text."""
    what = f"a {kind} {shown(name)}"
    if kind == "index" and sql is None and name.startswith("sqlite_autoindex_"):
        return ""
    if kind not in {"table", "index"} or not isinstance(sql, str):
        return what
    if table not in _TABLES:
        return f"a table {shown(table)}"
    tokens = [token.strip('"') if len(token) > 1 else token for token in _TOKEN.findall(sql.lower())]
    if kind == "index":
        found = _INDEX.fullmatch(" ".join(tokens))
        return "" if found and found[2] == table and set(tokens[6:-1]) - {","} <= _COLUMNS[table] else what
    known = _WORDS | _COLUMNS[table] | {column for columns in _COLUMNS.values() for column in columns} | set(_TABLES)
    strange = [token for token in tokens if token not in known and token not in {"(", ")", ","} and not token.isdecimal()]
    if tokens[:3] != ["create", "table", table] or strange:
        return f"{what} with {shown(strange[0])}" if strange else what
    return ""


def _constraint(connection: sqlite3.Connection, table: sa.Table) -> str:
    """How the constraints of a table differ from ours, or an empty text.

    With other keys SQLite would refuse what the workbench writes, and with other types it would change it.
    """
    for _, name, kind, required, _, key, _ in connection.execute(f'PRAGMA table_xinfo("{table.name}")').fetchall():
        if (column := table.columns.get(str(name))) is None:
            continue
        # In SQLite a primary key may be NULL unless NOT NULL is declared too.
        wanted = (_affinity(column.type.compile(dialect=dialect.dialect())), bool(column.primary_key))
        if (_affinity(str(kind)), bool(key)) != wanted or (required and column.nullable):
            return f"the column {shown(str(name))} of {table.name} has another type or another key"
    ours = {(key.column.table.name, key.parent.name, key.column.name) for key in table.foreign_keys}
    keys = connection.execute(f'PRAGMA foreign_key_list("{table.name}")').fetchall()
    if {(str(other), str(here), str(there)) for _, _, other, here, there, *_ in keys} - ours:
        return f"{table.name} refers to another table"
    return ""


def _affinity(kind: str) -> str:
    """The type affinity of a declared column type: https://sqlite.org/datatype3.html, section 3.1."""
    words = {
        "INT": "INTEGER",
        "CHAR": "TEXT",
        "CLOB": "TEXT",
        "TEXT": "TEXT",
        "BLOB": "BLOB",
        "REAL": "REAL",
        "FLOA": "REAL",
        "DOUB": "REAL",
    }
    return next((found for word, found in words.items() if word in kind.upper()), "NUMERIC" if kind else "BLOB")


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, sum((path.with_name(f"{path.name}{end}")).exists() for end in SIDE_FILES)
