"""Column types that return the same values, and sort texts in the same order, in SQLite and PostgreSQL."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa

from workbench.shapes import parse_json

# PostgreSQL allows no NUL in a text: it is written as a Unicode noncharacter and a digit, and so is that noncharacter itself.
ESCAPE = "\ufdd0"
_KEPT = {"\0": f"{ESCAPE}0", ESCAPE: f"{ESCAPE}1"}
_MEANT = {kept: meant for meant, kept in _KEPT.items()}
_TO_KEEP = re.compile(f"[\0{ESCAPE}]")
_AS_KEPT = re.compile(f"{ESCAPE}[01]")


class _Escaped(sa.TypeDecorator[str]):
    """A text in PostgreSQL, NUL included, compared by code points as SQLite does."""

    impl = sa.Text(collation="C")
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Escape a text for storage."""
        return _TO_KEEP.sub(lambda found: _KEPT[found[0]], value) if isinstance(value, str) else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """Undo the escaping."""
        return _AS_KEPT.sub(lambda found: _MEANT[found[0]], value) if value and ESCAPE in value else value


class _JsonText(sa.TypeDecorator[Any]):
    """JSON as Python writes it. PostgreSQL's own JSON refuses numbers that are not finite."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        """The value as JSON text."""
        return json.dumps(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """The value of a JSON text."""
        return None if value is None else parse_json(value, numbers=False, halves=True)


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """A text column; the length is a hint and not enforced."""
    plain = sa.Text() if length is None else sa.String(length)
    return plain.with_variant(_Escaped(), "postgresql")


def integer_type() -> sa.types.TypeEngine[int]:
    """A 64-bit integer column, as every integer of SQLite is."""
    return sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def json_type() -> sa.types.TypeEngine[Any]:
    """A column of lists and dictionaries, stored as JSON."""
    return sa.JSON().with_variant(_JsonText(), "postgresql")
