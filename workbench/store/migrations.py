"""Migrations of the catalog: steps in order, each from one version to the next.

A step speaks SQL and not the tables of :mod:`workbench.store.tables`, which are those of the newest version. It never changes
once it is released. What a step does must be possible in a transaction, so that an upgrade that is cut short was never begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

Step = Callable[[sa.Connection], None]


def _find_by_run(connection: sa.Connection) -> None:
    """Add indexes on the run of evidence and names, which are looked up when a run is checked or deleted."""
    for table in ("evidence", "names"):
        connection.execute(sa.text(f"CREATE INDEX IF NOT EXISTS ix_{table}_run ON {table} (run)"))


def _both_p_values(connection: sa.Connection) -> None:
    """Add columns for corrected p values and clusters. What detection stored as ``p`` was the corrected value."""
    there = {column["name"] for column in sa.inspect(connection).get_columns("evidence")}
    number, real = ("BIGINT", "DOUBLE PRECISION") if connection.dialect.name == "postgresql" else ("INTEGER", "FLOAT")
    wanted = {"clusters": number, "clusters_positive": number, "p_corrected": real, "family": "TEXT", "note": "TEXT"}
    for name, kind in wanted.items():
        if name not in there:
            connection.execute(sa.text(f"ALTER TABLE evidence ADD COLUMN {name} {kind}"))
    connection.execute(sa.text("UPDATE evidence SET p_corrected = p, p = NULL WHERE metric = 'detects.auroc' AND p IS NOT NULL"))


def with_both_p_values(row: dict[str, Any]) -> dict[str, Any]:
    """A row of evidence of a run's own table, which may be older than the catalog: see `_both_p_values`."""
    if "p_corrected" in row or row["metric"] != "detects.auroc":
        return row
    return row | {"p_corrected": row["p"], "p": None}


STEPS: dict[int, Step] = {2: _find_by_run, 3: _both_p_values}
"""The step that leads to each version from the one before."""
FIRST_VERSION = 1
SCHEMA_VERSION = max(STEPS)


def migrate(connection: sa.Connection, found: int) -> None:
    """Take every step from the version found to the present one."""
    for version in range(found + 1, SCHEMA_VERSION + 1):
        STEPS[version](connection)
