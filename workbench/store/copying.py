"""Copy all rows of one catalog into another, in SQLite or PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from workbench.errors import StudyError
from workbench.store.catalog import Catalog
from workbench.store.tables import info, metadata

CHUNK = 5000


def copy_rows(source: Catalog, target: Catalog) -> None:
    """Copy a catalog into one that is new, in one transaction; what is written into the source meanwhile is left out.

    Raises:
        StudyError: The target holds another study, or the source has rows that refer to missing ones.
    """
    try:
        _copy(source, target)
    except sa.exc.IntegrityError as error:
        raise StudyError(
            "The study's catalog has rows about what is not there: run `workbench study repair` on it, and do this again."
        ) from error


def _copy(source: Catalog, target: Catalog) -> None:
    with source.engine.connect() as read, target.changing() as write:
        if source.postgres:
            # One snapshot for all tables; SQLite's transactions have that by default.
            read.execution_options(isolation_level="REPEATABLE READ")
        if any(write.execute(sa.select(table).limit(1)).first() for table in metadata.sorted_tables if table is not info):
            raise StudyError(f"There is another study in {target.called}: give a schema that is new, or none.")
        write.execute(sa.delete(info))
        for table in metadata.sorted_tables:
            order = list(table.primary_key.columns)
            for rows in read.execute(sa.select(table).order_by(*order)).mappings().partitions(CHUNK):
                for column in table.columns:
                    if isinstance(column.type, sa.Integer | sa.Float):
                        source.require_numbers(column.name, [row[column.name] for row in rows])
                write.execute(sa.insert(table), [dict(row) for row in rows])
            if target.postgres and table.autoincrement_column is not None:
                _go_on_counting(write, table)


def _go_on_counting(connection: sa.Connection, table: sa.Table) -> None:
    """Set the sequences of the target past the copied ids, so that none is used twice."""
    largest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
    sequence = sa.func.pg_get_serial_sequence(table.name, "id")
    # In an empty table the next id is 1.
    connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(largest, 1), largest.is_not(None))))
