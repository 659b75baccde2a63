"""The types of a catalog's columns: SQLite and PostgreSQL give back the same values, and texts in the same order."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa

from workbench.shapes import parse_json

# PostgreSQL has no NUL in a text. A character that Unicode gives to nobody stands before a digit for it, and for itself.
ESCAPE = "\ufdd0"
_KEPT = {"\0": f"{ESCAPE}0", ESCAPE: f"{ESCAPE}1"}
_MEANT = {kept: meant for meant, kept in _KEPT.items()}
_TO_KEEP = re.compile(f"[\0{ESCAPE}]")
_AS_KEPT = re.compile(f"{ESCAPE}[01]")


class _Escaped(sa.TypeDecorator[str]):
    """Any text in PostgreSQL, compared by its code points as SQLite does it."""

    impl = sa.Text(collation="C")
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """The text as it is kept."""
        return _TO_KEEP.sub(lambda found: _KEPT[found[0]], value) if isinstance(value, str) else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """The text as it was given."""
        return _AS_KEPT.sub(lambda found: _MEANT[found[0]], value) if value and ESCAPE in value else value


class _JsonText(sa.TypeDecorator[Any]):
    """JSON as Python writes it. PostgreSQL's own JSON refuses numbers that are not finite."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        """The value as text."""
        return json.dumps(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """The value again."""
        return None if value is None else parse_json(value, numbers=False, halves=True)


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """A text; the length is only what is expected of it."""
    plain = sa.Text() if length is None else sa.String(length)
    return plain.with_variant(_Escaped(), "postgresql")


def integer_type() -> sa.types.TypeEngine[int]:
    """A whole number of 64 bits, as all of SQLite's are."""
    return sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def json_type() -> sa.types.TypeEngine[Any]:
    """Lists and dictionaries."""
    return sa.JSON().with_variant(_JsonText(), "postgresql")
