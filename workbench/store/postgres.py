"""Catalogs in PostgreSQL: a study is one schema of a database, and writers take turns as in SQLite."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Any

import sqlalchemy as sa

from workbench.errors import ConfigError, MissingExtraError, StudyError
from workbench.store.sqlite import PATIENCE_S, WRITES

DRIVER = "postgresql+psycopg"
EXAMPLE = "postgresql+psycopg://user@host/database"
SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
SCHEMA_KEY = "schema"
# Options of libpq that a URL may set. A study from elsewhere must not name files to read passwords from.
OPTIONS = frozenset({SCHEMA_KEY, "host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey"})
REACH_S = 10
_TURNED_AWAY = frozenset({"55P03", "40P01", "40001"})  # lock timeout, deadlock, serialization


def known_url(text: str) -> sa.URL:
    """The URL of a catalog in PostgreSQL, with the driver that the workbench uses.

    Raises:
        ConfigError: It is of no such catalog, or holds a password.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError(f"That is no URL of a catalog. Give one such as {EXAMPLE}.") from error
    if url.drivername not in {"postgres", "postgresql", DRIVER}:
        raise ConfigError(
            f"A catalog lies in the study's folder (leave the URL out) or in PostgreSQL ({EXAMPLE}), not in '{url.drivername}'."
        )
    if url.password is not None or any("password" in key for key in url.query):
        raise ConfigError(
            "Leave the password out of the catalog's URL, which is kept in the study's folder: put it into the environment"
            " variable PGPASSWORD or into ~/.pgpass."
        )
    if unknown := sorted(set(url.query) - OPTIONS):
        raise ConfigError(f"The catalog's URL has an unknown option '{unknown[0]}'. Known: {', '.join(sorted(OPTIONS))}.")
    if not url.database:
        raise ConfigError(f"The catalog's URL names no database. Give one such as {EXAMPLE}.")
    schema = url.query.get(SCHEMA_KEY, "study")
    if not isinstance(schema, str) or not SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise ConfigError("The schema of a study is up to 63 small letters, digits and _, and begins with no digit and no pg_.")
    return url.set(drivername=DRIVER)


def with_schema(url: sa.URL, name: str) -> sa.URL:
    """The URL with a schema of its own for a new study of a name, where it has none yet."""
    if SCHEMA_KEY in url.query:
        return url
    words = re.sub(r"[^a-z0-9]+", "_", name.lower())[:40].strip("_")
    return url.update_query_dict({SCHEMA_KEY: f"study_{words}_{uuid.uuid4().hex[:8]}"})


def make_engine(url: str) -> sa.Engine:
    """The engine of a study's catalog; nothing is connected yet.

    Raises:
        ConfigError: The URL is of no study's catalog.
        MissingExtraError: There is no driver.
    """
    known = known_url(url)
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("psycopg", "postgres", "A catalog in PostgreSQL") from error
    engine = sa.create_engine(
        known.difference_update_query([SCHEMA_KEY]),
        connect_args={"connect_timeout": REACH_S, "client_encoding": "utf8", "application_name": "concept-workbench"},
        isolation_level="READ COMMITTED",
        # After a restart of the server a new connection is made.
        pool_pre_ping=True,
    )
    if SCHEMA_KEY not in known.query:
        raise StudyError("The study's file names a catalog without its schema: restore study.json from a copy.")
    schema = str(known.query[SCHEMA_KEY])

    def settings(connection: Any, _record: Any) -> None:
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise StudyError(f"The database '{known.database}' is not in UTF-8: make one with `createdb --encoding=UTF8`.")
        connection.autocommit = True
        # Only the study's schema is on the search path, whatever else the database holds.
        connection.execute("SELECT set_config('search_path', %s, false)", [schema])
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{PATIENCE_S * 1000:.0f}ms"])
        connection.autocommit = False

    def begin(connection: sa.Connection) -> None:
        # Writers take turns, as in SQLite: each sees what the one before wrote, so no transaction has to be retried.
        if connection.get_execution_options().get(WRITES, False):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_lock_number(schema)})")

    # Must run before SQLAlchemy's own listener, which queries the current schema.
    sa.event.listen(engine, "connect", settings, insert=True)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "handle_error", _lost)
    return engine


def require_reachable(text: str) -> None:
    """Connect once, before anything of a new study is written.

    Raises:
        StudyError: The server cannot be reached, or the user may make no schema.
    """
    engine = make_engine(text)
    try:
        with engine.connect() as connection:
            may = "has_database_privilege(current_database(), 'CREATE')"
            there = "to_regnamespace(current_setting('search_path')) IS NOT NULL"
            if not connection.exec_driver_sql(f"SELECT {may} OR {there}").scalar_one():
                raise StudyError(
                    f"Your user may make no schema in {address(known_url(text))}: let its owner run `GRANT CREATE ON DATABASE`."
                )
    finally:
        engine.dispose()


def make_home(connection: sa.Connection) -> None:
    """Make the study's schema, in a transaction that writes."""
    path = connection.exec_driver_sql("SHOW search_path").scalar_one()
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {path}")


def bytes_taken(engine: sa.Engine) -> int:
    """What the tables of the study's schema take in the database, with their indexes."""
    sizes = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"{sizes} WHERE n.nspname = current_schema() AND c.relkind = 'r'").scalar_one())


def locked(error: sa.exc.DBAPIError) -> bool:
    """Whether an error says that others held the lock for longer than :data:`PATIENCE_S`, or that the server preferred them."""
    return getattr(error.orig, "sqlstate", None) in _TURNED_AWAY


def address(url: sa.URL) -> str:
    """Where a catalog lies, for a person to read: server, database and schema."""
    host = url.host or url.query.get("host") or "this machine"
    return f"the database '{url.database}' on {host}, schema '{url.query.get(SCHEMA_KEY, '')}'"


def _lock_number(schema: str) -> int:
    """The number of a study's advisory lock, unique in the database: a signed 64-bit integer."""
    digest = hashlib.sha256(f"concept-workbench {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _lost(context: sa.engine.ExceptionContext) -> None:
    """One sentence for a server that cannot be reached, or that went away."""
    error = context.original_exception
    if not isinstance(context.sqlalchemy_exception, sa.exc.OperationalError) or context.is_pre_ping:
        return
    if context.connection is None or context.is_disconnect:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StudyError(
            f"The study's catalog in PostgreSQL cannot be reached ({reason}). Start the server, or see that the password is in"
            " PGPASSWORD or ~/.pgpass, and do this again."
        ) from error
