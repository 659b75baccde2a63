"""The catalog of a study: runs, concepts, names, evidence, notes and collections in one SQL database.

SQLite in WAL mode in the study's folder, or a schema of a PostgreSQL database. Names, evidence, notes and collections are only
ever appended. Every value is bound, never spliced into SQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import sqlalchemy as sa

from workbench.errors import StudyError, disk_errors, disk_is_full
from workbench.paths import shown
from workbench.store import tables
from workbench.store.migrations import FIRST_VERSION, SCHEMA_VERSION, migrate
from workbench.store.run_record import require_records
from workbench.store.sqlite import WRITES, require_plain
from workbench.store.tables import ABOUT_CONCEPTS, concepts, evidence, info, metadata, names, newest_names, runs
from workbench.writing import require_writable


class Catalog:
    """Reads and writes one catalog.

    Args:
        url: An SQLAlchemy URL: ``sqlite:////path/to/catalog.db``, or one of PostgreSQL as
            :func:`workbench.store.postgres.known_url` takes it, with the study's schema.
        read_only: Nothing is written.

    Attributes:
        called: Its name in messages: ``catalog.db``, or its address in PostgreSQL.
        read_only: As given.
    """

    def __init__(self, url: str, read_only: bool = False) -> None:
        self.postgres = not url.startswith("sqlite")
        self.read_only = read_only
        self.engine = _make_engine(url, read_only)
        self.called = _called(url)
        self._writing = self.engine.execution_options(**{WRITES: True})
        try:
            self._open()
        except BaseException:
            # The caller never gets this object to close, and connections that are garbage-collected remove files of the database.
            self.close()
            raise

    def _open(self) -> None:
        with disk_errors("the study's catalog"):
            try:
                self._prepare()
            except sa.exc.DatabaseError as error:
                if disk_is_full(error):
                    raise
                raise StudyError(
                    f"The study's catalog cannot be read ({str(error.orig).strip()}). {self._advice()}, or open a new study."
                ) from error

    def _advice(self) -> str:
        if self.postgres:
            return f"See that your user may read, write and make tables in {self.called}"
        return f"Restore {self.called} from a copy"

    def _prepare(self) -> None:
        """Create the tables, or migrate them to the present version. A study of a newer version is refused unchanged."""
        if not self.postgres:
            require_plain(self.engine)
        # Read first, so that a study that is only read is never locked.
        there = set(sa.inspect(self.engine).get_table_names())
        found = self._version() if "info" in there else 0
        if found > SCHEMA_VERSION:
            raise StudyError(
                f"This study was written by a newer Concept Workbench (schema {found}, this one knows"
                f" {SCHEMA_VERSION}). Upgrade with `pip install -U concept-workbench`."
            )
        if found == SCHEMA_VERSION and set(metadata.tables) <= there:
            self._require_columns()
            return
        if self.read_only:
            raise StudyError(
                f"The study's catalog is of schema {found or 'none'}, and this workbench reads {SCHEMA_VERSION}; the study may"
                " not be written here, so its catalog cannot be brought up to date. Copy it: `workbench unpack FOLDER NEW`."
            )
        # Checked again inside the transaction: of several processes that arrive here at once, one does the work.
        with self.changing() as connection:
            if self.postgres:
                from workbench.store.postgres import make_home

                make_home(connection)
            new = not sa.inspect(connection).has_table("info")
            metadata.create_all(connection)
            found = SCHEMA_VERSION if new else _version(connection)
            migrate(connection, found)
            connection.execute(sa.delete(info).where(info.c.key == "schema"))
            connection.execute(sa.insert(info).values(key="schema", value=str(max(found, SCHEMA_VERSION))))
        self._require_columns()

    def _require_columns(self) -> None:
        """See that every table has its columns, and that none is a view."""
        there = sa.inspect(self.engine)
        for table in metadata.sorted_tables:
            missing = {column.name for column in table.columns} - {column["name"] for column in there.get_columns(table.name)}
            if missing:
                raise StudyError(
                    f"The table '{table.name}' of the study's catalog lacks the column '{min(missing)}'. {self._advice()}."
                )

    def _version(self) -> int:
        with self.engine.connect() as connection:
            return _version(connection)

    def close(self) -> None:
        """Let go of the database file."""
        self.engine.dispose()

    def info(self, key: str) -> str | None:
        """A fact about the study, or None."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(info.c.value).where(info.c.key == key)).scalar()

    def set_info(self, key: str, value: str) -> None:
        """Store a fact about the study."""
        with self.changing() as connection:
            connection.execute(sa.delete(info).where(info.c.key == key))
            connection.execute(sa.insert(info).values(key=key, value=value))

    @contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """A write transaction: committed as a whole, or rolled back when the block raises or the process dies.

        Raises:
            StudyError: Another process has been writing for a minute.
        """
        require_writable(self.read_only, "the study's catalog")
        try:
            with disk_errors("the study's catalog"), self._writing.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            if not _locked(error):
                raise
            raise StudyError(
                "Another process has been writing into the study's catalog for a minute: wait until it is done, or stop it, and"
                " do this again."
            ) from error

    def insert(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows in one transaction. NaN is stored as NULL."""
        if rows:
            with self.changing() as connection:
                _insert(connection, table, rows)

    def update_run(self, run: str, **values: Any) -> None:
        """Change a run's record."""
        with self.changing() as connection:
            _update_run(connection, run, values)

    def finish_run(
        self,
        run: str,
        concept_rows: Sequence[dict[str, Any]],
        name_rows: Sequence[dict[str, Any]],
        evidence_rows: Sequence[dict[str, Any]],
        **values: Any,
    ) -> None:
        """Insert what a run found and update its record in one transaction, so that a run with status ``done`` is complete."""
        with self.changing() as connection:
            _insert(connection, concepts, concept_rows)
            _insert_names(connection, name_rows)
            _insert(connection, evidence, evidence_rows)
            _update_run(connection, run, values)

    def remove_concepts(self, run: str) -> None:
        """Delete what a run inserted: its evidence, and its concepts with their names, notes and evidence."""
        mine = sa.select(concepts.c.id).where(concepts.c.run == run)
        with self.changing() as connection:
            connection.execute(sa.delete(evidence).where(evidence.c.run == run))
            for table in ABOUT_CONCEPTS:
                connection.execute(sa.delete(table).where(table.c.concept.in_(mine)))
            connection.execute(sa.delete(concepts).where(concepts.c.run == run))

    def frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        """The rows of a query.

        Raises:
            StudyError: A numeric column holds a text, which SQLite does not prevent.
        """
        with self.engine.connect() as connection:
            result = connection.execute(query)
            found = pd.DataFrame(result.fetchall(), columns=list(result.keys()))
        for place, column in enumerate(query.selected_columns):
            # pandas gives such a column another type when all values are missing, or when a text is among them.
            if isinstance(column.type, sa.Integer | sa.Float) and not pd.api.types.is_numeric_dtype(found.dtypes.iloc[place]):
                self.require_numbers(str(found.columns[place]), found.iloc[:, place])
        return found

    def require_numbers(self, name: str, values: Iterable[Any]) -> None:
        """Raise `StudyError` where a numeric column holds a text."""
        other = next((value for value in values if isinstance(value, str | bytes)), None)
        if other is not None:
            raise StudyError(
                f"The study's catalog holds {shown(repr(other)[:100])} in the column '{name}', where a number belongs."
                f" {self._advice()}, or copy what is ours into a study of your own: `workbench unpack FOLDER NEW`."
            )

    def run(self, run: str) -> dict[str, Any] | None:
        """One run's record, or None."""
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).mappings().first()
        if row is None:
            return None
        found = dict(row)
        require_records([found], self.called)
        return found

    def add_names(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append names; each supersedes the name that is current now.

        The current names are read and the new ones written in one transaction, so two writers cannot both supersede the
        same row unseen: the later one sees the earlier one.
        """
        if rows:
            with self.changing() as connection:
                _insert_names(connection, rows)

    def names(self, concept: str | None = None) -> pd.DataFrame:
        """The names of one concept or of all, oldest first."""
        query = sa.select(names).order_by(names.c.id)
        return self.frame(query if concept is None else query.where(names.c.concept == concept))

    def current_names(self) -> pd.DataFrame:
        """One name a concept; see :func:`newest_names`."""
        return newest_names(self.names())

    def evidence(self, concept: str | None = None, metrics: Iterable[str] | None = None) -> pd.DataFrame:
        """The newest evidence row of each concept, metric and label."""
        latest = sa.select(sa.func.max(evidence.c.id)).group_by(evidence.c.concept, evidence.c.metric, evidence.c.label)
        if concept is not None:
            latest = latest.where(evidence.c.concept == concept)
        if metrics is not None:
            latest = latest.where(evidence.c.metric.in_(list(metrics)))
        return self.frame(sa.select(evidence).where(evidence.c.id.in_(latest)).order_by(evidence.c.id))


def _make_engine(url: str, read_only: bool) -> sa.Engine:
    if url.startswith("sqlite"):
        from workbench.store.sqlite import make_engine

        return make_engine(url, read_only)
    from workbench.store.postgres import make_engine as make_postgres

    return make_postgres(url)


def _called(url: str) -> str:
    if url.startswith("sqlite"):
        return "catalog.db"
    from workbench.store.postgres import address

    return address(sa.make_url(url))


def _locked(error: sa.exc.DBAPIError) -> bool:
    from workbench.store import postgres, sqlite

    return postgres.locked(error) if hasattr(error.orig, "sqlstate") else sqlite.locked(error)


def _version(connection: sa.Connection) -> int:
    found = connection.execute(sa.select(info.c.value).where(info.c.key == "schema")).scalar()
    # The first version of the format wrote its version last, so a file that was cut short has none.
    if found is None:
        return FIRST_VERSION
    if not str(found).isdecimal() or len(str(found)) > 9 or int(found) < FIRST_VERSION:
        raise StudyError(f"The version of the study's catalog is damaged ({str(found)[:40]!r}): restore catalog.db from a copy.")
    return int(found)


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), [{k: plain(v) for k, v in row.items()} for row in rows])


def _insert_names(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    current: dict[str, int] = {}
    for start in range(0, len(rows), 500):
        part = [row["concept"] for row in rows[start : start + 500]]
        query = sa.select(names.c.concept, sa.func.max(names.c.id)).where(names.c.concept.in_(part))
        current |= {row[0]: row[1] for row in connection.execute(query.group_by(names.c.concept))}
    at = tables.now()
    defaults = {"confidence": None, "run": None, "at": at}
    _insert(connection, names, [defaults | {"supersedes": current.get(row["concept"])} | row for row in rows])


def _update_run(connection: sa.Connection, run: str, values: dict[str, Any]) -> None:
    connection.execute(sa.update(runs).where(runs.c.id == run).values(**{k: plain(v) for k, v in values.items()}))


def plain(value: Any) -> Any:
    """Convert a value of a DataFrame for the database; a number that is not finite becomes NULL."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
