"""SQLite as a catalog needs it: many processes read and write one file at once, and none is turned away by the others."""

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
    """The engine of a database file; settings and transactions are ours.

    Args:
        url: ``sqlite:///`` and the path, every character of which stands for itself.
        read_only: Nothing is written, and no file is made beside it.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if read_only:
        # A connection for each query: whether others write now decides how it reads.
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
    """A connection that reads: with what others have written ahead where they have, else the file as it lies."""
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
    # Should others who share the study have put something into the schema: it is not run with more than it needs.
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")


def _damaged(context: sa.engine.ExceptionContext) -> None:
    """One sentence for a file that is no whole database, wherever that shows."""
    error = context.original_exception
    # What SQLite says may quote a name of the schema that is not UTF-8, and Python's driver decodes it.
    undecoded = isinstance(error, UnicodeDecodeError) or (isinstance(error, sqlite3.OperationalError) and "decode" in str(error))
    if undecoded or type(error) is sqlite3.DatabaseError:
        raise StudyError(f"The study's catalog is damaged ({error}): restore catalog.db from a copy.") from error


def require_plain(engine: sa.Engine) -> None:
    """See that a catalog holds nothing that runs by itself, each time: another may have been put in its place.

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
    """Whether others held the database for longer than :data:`PATIENCE_S`."""
    return "locked" in str(error.orig)


def _settings(connection: Any, _record: Any) -> None:
    # Python's driver opens transactions late by itself; with None, that of `_begin` is the only one.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    # A name that a person gave is on the disk when they see it, even if the power fails then.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Readers do not wait for the writer. SQLite itself does not wait when it changes over, so this does."""
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
    # What writes takes the lock at once: one that read first could not wait for it, its view being out of date by then.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
