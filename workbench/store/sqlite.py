"""Catalogs in SQLite: many processes read and write one file, waiting for each other rather than failing."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from workbench.errors import StudyError
from workbench.paths import shown
from workbench.shapes import ShapeError, parse_json

WRITES = "workbench_writes"
"""The execution option of a connection that writes."""
PATIENCE_S = 60.0
_NAP_S = 0.02


def make_engine(url: str, read_only: bool = False) -> sa.Engine:
    """An engine for a database file, with pragmas and transactions set up here.

    Args:
        url: ``sqlite:///`` and the path, without escapes.
        read_only: Write nothing, and create no side file.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if read_only:
        # One connection a query: how to read depends on whether a write-ahead log exists at that moment.
        pool: type[sa.Pool] = sa.NullPool
        engine = sa.create_engine("sqlite://", creator=lambda: _reader(path), poolclass=pool, json_deserializer=_json)
    else:
        engine = sa.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(path, timeout=PATIENCE_S, check_same_thread=False),
            poolclass=sa.QueuePool, json_deserializer=_json,
        )  # fmt: skip
        sa.event.listen(engine, "connect", _settings)
    sa.event.listen(engine, "connect", _distrust)
    sa.event.listen(engine, "begin", _begin)
    sa.event.listen(engine, "handle_error", _damaged)
    return engine


def _reader(path: Path) -> sqlite3.Connection:
    """A read-only connection that includes the write-ahead log if there is one, and otherwise opens the file as immutable."""
    ahead = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if ahead.exists() and ahead.stat().st_size else "mode=ro&immutable=1"
    name = f"file:{quote(os.fsencode(path))}?{how}"
    return sqlite3.connect(name, uri=True, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)


def _json(text: str) -> Any:
    try:
        return parse_json(text, numbers=False, halves=True)
    except ShapeError as error:
        raise StudyError(f"A value in the study's catalog is damaged ({error}): restore catalog.db from a copy.") from error


def _distrust(connection: Any, _record: Any) -> None:
    # Limits what a schema changed by others who share the study could do.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")


def _damaged(context: sa.engine.ExceptionContext) -> None:
    """One sentence for a file that is no whole database, wherever that shows."""
    error = context.original_exception
    # The driver decodes SQLite's messages, which may quote a name of the schema that is not UTF-8.
    undecoded = isinstance(error, UnicodeDecodeError) or (isinstance(error, sqlite3.OperationalError) and "decode" in str(error))
    if undecoded or type(error) is sqlite3.DatabaseError:
        raise StudyError(f"The study's catalog is damaged ({error}): restore catalog.db from a copy.") from error


def require_plain(engine: sa.Engine) -> None:
    """Refuse a catalog with triggers, views or virtual tables. Checked on every opening: the file may have been replaced.

    Raises:
        StudyError: It holds a trigger, a view or a virtual table.
    """
    strange = "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'create virtual%'"
    with engine.connect() as connection:
        if (found := connection.exec_driver_sql(strange).first()) is not None:
            raise StudyError(
                f"The study's catalog holds the {found[0]} {shown(str(found[1]))}, which is none of ours: it is not opened."
                " Copy what is ours into a study of your own: `workbench unpack FOLDER NEW`."
            )


def locked(error: sa.exc.DBAPIError) -> bool:
    """Whether an error says that others held the lock for longer than :data:`PATIENCE_S`."""
    return "locked" in str(error.orig)


def _settings(connection: Any, _record: Any) -> None:
    # The driver would begin transactions itself, and late; with None only `_begin` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    # A committed name survives a power failure.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch to WAL mode, in which readers do not wait for the writer. SQLite does not wait for the switch itself, so this
    does."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_NAP_S)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(f"its schema is damaged: {error}") from error
        else:
            return


def _begin(connection: sa.Connection) -> None:
    # Writers take the lock at once: a transaction that read first could not wait, because its snapshot would be outdated.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
