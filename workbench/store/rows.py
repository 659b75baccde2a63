"""Validation of catalog rows: types of values, ids, and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from workbench.paths import PARTIAL, is_id, shown
from workbench.shapes import parse_json
from workbench.store import tables
from workbench.store.run_record import record_problem

Row = dict[str, Any]
STATUSES = frozenset({"running", "done", "failed", "cancelled", "deleted"})
MEASURED = frozenset({"ok", "failed"})
_JSON_BYTES = 2**24
_ROUNDED = 1e-6


def problem_of(table: sa.Table, row: Row) -> str:
    """What is wrong with a row, as part of a sentence, or an empty text. Values are as SQLite returns them."""
    for name, value in row.items():
        if not _fits(table.c[name], value):
            return f"the column '{name}' holds {_called(value)}"
    check = _CHECKS.get(table.name)
    return check(row) if check else ""


def read_json(text: str) -> Any:
    """The value of a JSON text. `ValueError` if it is invalid or longer than any that the workbench writes."""
    if len(text) > _JSON_BYTES:
        raise ValueError("it is too long")
    return parse_json(text, numbers=False, halves=True)


def _fits(column: sa.Column[Any], value: Any) -> bool:
    if value is None:
        return bool(column.nullable)
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return value in {0, 1} and isinstance(value, int)
    if isinstance(kind, sa.Integer):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    if isinstance(kind, sa.Float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str) and _unicode(value)


def _unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _called(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {shown(repr(value)[:100])}"


def _run(row: Row) -> str:
    if not is_id("runs", row.get("id")) or row["id"].endswith(PARTIAL):
        return f"a run is called {shown(str(row.get('id')))}"
    if row.get("status") not in STATUSES:
        return f"a run has the status {shown(str(row.get('status')))}"
    problem = record_problem({name: _object(row.get(name)) for name in ("config", "inputs", "provenance")})
    return f"the record of a run is not as the workbench writes it: {problem}" if problem else ""


def _concept(row: Row) -> str:
    run, number = row.get("run"), row.get("number")
    if not is_id("runs", run) or not isinstance(number, int) or number < 0 or row.get("id") != f"{run}.{number}":
        return f"a concept is called {shown(str(row.get('id')))}"
    return ""


def _of_run(row: Row) -> str:
    run = row.get("run")
    return "" if run is None or is_id("runs", run) else f"a row is of the run {shown(run)}"


def _evidence(row: Row) -> str:
    if problem := _of_run(row):
        return problem
    if row.get("status") not in MEASURED:
        return f"a row of evidence has the status {shown(str(row.get('status')))}"
    for name in ("p", "p_corrected"):
        if (p := row.get(name)) is not None and not 0 <= p <= 1 + _ROUNDED:
            return f"the column '{name}' holds {_called(p)}, which is no probability"
    below = next((name for name in ("n", "clusters", "clusters_positive") if (row.get(name) or 0) < 0), None)
    return f"the column '{below}' counts {row[below]}" if below else ""


def _intervention(row: Row) -> str:
    try:
        texts = read_json(row.get("texts", "null"))
    except ValueError:
        texts = None
    return "" if _object(row.get("recipe")) is not None and _texts(texts) else "an intervention cannot be read"


def _info(row: Row) -> str:
    key, value = row.get("key"), row.get("value") or ""
    if key == "schema":
        return "" if value.isdecimal() and len(value) < 10 else "the version of the catalog is no number"
    if key == "model":
        record = _object(value)
        texts = record is not None and all(isinstance(record.get(name), str) for name in ("name", "kind", "weights_hash"))
        return "" if texts and isinstance(record.get("source"), dict) else "the record of the model cannot be read"  # type: ignore[union-attr]
    if isinstance(key, str) and key.startswith("labels of "):
        record = _object(value)
        sound = record is not None and is_id("datasets", f"{record.get('hash')}.json") and isinstance(record.get("name"), str)
        return "" if sound and isinstance(record.get("source"), dict) else "the record of a data set cannot be read"  # type: ignore[union-attr]
    if isinstance(key, str) and key.startswith("deleted activations "):
        record = _object(value)
        sound = record is not None and _texts([record.get(name) for name in ("at", "data", "said")])
        return "" if sound else "the record of a deleted set cannot be read"
    return _measured(key, value) if isinstance(key, str) else ""


def _measured(key: str, value: str) -> str:
    """What is wrong with a stored measurement, such as a dose unit."""
    if key.startswith("norm "):
        return "" if _finite(value) else "a typical norm is no number"
    if key.startswith("unit "):
        return "" if _finite(value) else "the unit of a dose is no number"
    if key.startswith("doses "):
        return "" if _doses(_object(value)) else "the doses of a site cannot be read"
    return ""


def _doses(record: dict[str, Any] | None) -> bool:
    """Whether a record is one of `workbench.evidence.doses.Doses`."""
    if record is None or record.get("measure") not in ("loss", "divergence", "angle"):
        return False
    lists = [record.get(name) for name in ("found", "costs")]
    numbers = [record.get("unit"), *(v for part in lists for v in (part if isinstance(part, list) else []))]
    return all(isinstance(part, list) and len(part) == 3 for part in lists) and all(
        isinstance(v, int | float) and 0 < v < float("inf") for v in numbers
    )


def _object(text: Any) -> dict[str, Any] | None:
    try:
        value = read_json(text)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


_CHECKS: dict[str, Callable[[Row], str]] = {
    tables.info.name: _info,
    tables.runs.name: _run,
    tables.concepts.name: _concept,
    tables.names.name: _of_run,
    tables.evidence.name: _evidence,
    tables.interventions.name: _intervention,
}
