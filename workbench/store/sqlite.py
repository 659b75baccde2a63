"""SQLite as a catalog needs it: many processes read and write one file at once, and none is turned away by the others."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa

WRITES = "workbench_writes"
"""The execution option of a connection that writes."""
PATIENCE_S = 60.0
_NAP_S = 0.02


def make_engine(url: str) -> sa.Engine:
    """The engine of an SQLAlchemy URL; settings and transactions are ours where it is SQLite."""
    lite = url.startswith("sqlite")
    engine = sa.create_engine(url, connect_args={"timeout": PATIENCE_S} if lite else {})
    if lite:
        sa.event.listen(engine, "connect", _settings)
        sa.event.listen(engine, "begin", _begin)
    return engine


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
        else:
            return


def _begin(connection: sa.Connection) -> None:
    # What writes takes the lock at once: one that read first could not wait for it, its view being out of date by then.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
