"""How the catalog of an older study becomes one of the present: steps in order, each from one version to the next.

A step speaks SQL and not the tables of :mod:`workbench.store.tables`, which are those of the newest version. It never changes
once it is released. What a step does must be possible in a transaction, so that an upgrade that is cut short was never begun.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

Step = Callable[[sa.Connection], None]


def _find_by_run(connection: sa.Connection) -> None:
    """Evidence and names are looked up by their run, when one is checked or dropped: a scan of all of them without an index."""
    for table in ("evidence", "names"):
        connection.execute(sa.text(f"CREATE INDEX IF NOT EXISTS ix_{table}_run ON {table} (run)"))


STEPS: dict[int, Step] = {2: _find_by_run}
"""What makes a catalog one of this version, out of one of the version before."""
FIRST_VERSION = 1
SCHEMA_VERSION = max(STEPS)


def migrate(connection: sa.Connection, found: int) -> None:
    """Take every step from the version found to the present one."""
    for version in range(found + 1, SCHEMA_VERSION + 1):
        STEPS[version](connection)
