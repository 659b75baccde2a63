"""Saving a data set as Parquet, with every column, and in the metadata which columns are labels."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from workbench.conversations import conversation
from workbench.datasets.columns import MISSING_WORDS, Label
from workbench.datasets.readers import read_table
from workbench.datasets.spans import PLACES, no_spans, read_spans
from workbench.errors import DataError, disk_errors
from workbench.shapes import parse_json, shaped
from workbench.writing import file_beside

if TYPE_CHECKING:
    from workbench.datasets.dataset import Dataset

METADATA = b"concept_workbench"


class _SavedLabel(BaseModel):
    name: str
    kind: Any
    values: list[Any]


class _About(BaseModel):
    """The description of the data set in the file's metadata."""

    modality: Literal["text", "image"]
    name: str
    labels: list[_SavedLabel]
    notes: list[str]
    earlier: list[str]
    source: dict[str, Any]
    missing: list[str] | None = None
    given: dict[str, str] = Field(default_factory=dict)
    json_columns: list[str] = Field(default_factory=list, alias="json")
    spans: str | None = None
    conversations: bool = False


@dataclass(frozen=True)
class Saved:
    """What a file holds besides the examples: the table without them, spans, labels, and facts about the data set."""

    table: pd.DataFrame
    spans: pd.DataFrame
    span_scope: np.ndarray
    labels: list[Label]
    about: dict[str, Any]
    given: dict[str, pd.Series]

    @property
    def missing(self) -> tuple[str, ...]:
        """The words that stand for no value."""
        return tuple(self.about.get("missing", self.about["source"].get("missing", MISSING_WORDS)))


def save_parquet(data: Dataset, path: Path) -> Path:
    """Write the examples and every column of the table, atomically."""
    if data.modality != "text":
        raise DataError("Only a data set of texts can be saved: keep the image files, and a table of their paths.")
    if path.suffix != ".parquet":
        raise DataError(f"A data set is saved as Parquet: give a name that ends in .parquet, not '{path.name}'.")
    return write_table(data, path)


def write_table(data: Dataset, path: Path) -> Path:
    """Write the table of a data set, with its texts or without its images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = {str(name): data.table[name] for name in data.table.columns if name != "image"}
    given = {name: _free(f"{name} as given", cells) for name in data.given}
    cells |= {given[name]: column for name, column in data.given.items()}
    if data.of_conversations:
        cells["text"] = pd.Series([text.to_json() for text in data.table["text"]])
    columns: dict[str, Any] = {}
    as_json: list[str] = []
    for name, column in cells.items():
        columns[name], coded = _array(column)
        as_json += [name] if coded else []
    about: dict[str, Any] = {
        "modality": data.modality,
        "name": data.name,
        "labels": [{"name": x.name, "kind": x.kind, "values": list(x.values)} for x in data.example_labels],
        "notes": list(data.notes),
        "earlier": list(data.earlier),
        "source": data.source,
        "missing": list(data.missing_words),
        "given": given,
        "json": as_json,
    } | ({"conversations": True} if data.of_conversations else {})
    if data.span_scope.any():
        usual = "spans" if data.modality == "text" else "regions"
        about["spans"] = usual if usual not in columns else _free(f"labelled {usual}", columns)
        columns[about["spans"]] = pa.array(_span_cells(data), pa.string())
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about, default=str).encode()})
    with disk_errors(str(path)), file_beside(path) as partial:
        pq.write_table(table, partial, compression="zstd")
    return path


def read_saved_table(path: Path) -> Saved | None:
    """What :func:`write_table` wrote, or None where something else wrote the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    if METADATA not in metadata:
        return None
    frame = read_table(path)
    try:
        about = shaped(metadata[METADATA], _About).model_dump(exclude_none=True, by_alias=True)
        modality = about["modality"]
        for name in about.get("json", ()):
            frame[name] = pd.Series(
                [None if cell is None else parse_json(cell, numbers=False, halves=True) for cell in frame[name]], dtype=object
            )
        given = {name: frame.pop(column) for name, column in about.get("given", {}).items()}
        if about.get("conversations"):
            frame["text"] = pd.Series([conversation(cell) for cell in frame["text"]], dtype=object)
        labels = [Label(x["name"], "example", tuple(x["values"]), {}, x["kind"]) for x in about["labels"]]
        spans, scope = no_spans(modality), np.zeros(len(frame), dtype=bool)
        if "spans" in about:
            cells = list(frame.pop(about["spans"]))
            spans, scope = read_spans(cells, list(frame["text"]) if modality == "text" else None, modality)
        _ = frame[["split", "group", *(label.name for label in labels)]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"'{path.name}' is not whole: a data set was saved in it, and part of it is missing.") from error
    return Saved(frame, spans, scope, labels, about, given)


def _array(column: pd.Series) -> tuple[Any, bool]:
    """A column as an Arrow array; or, if Arrow would change a cell, as JSON texts, and True."""
    import pyarrow as pa

    # Arrow would give all objects of a column the same keys, and drop empty ones.
    if column.dtype == object and any(isinstance(value, (dict, list)) for value in column):
        with suppress(TypeError, ValueError):
            return pa.array([None if value is None else json.dumps(value) for value in column], pa.string()), True
    # Raised for mixed types, integers of more than 64 bits, and lone surrogates.
    with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array(column, from_pandas=True), False
    missing = (None, pd.NA, pd.NaT)
    texts = [None if any(value is x for x in missing) else json.dumps(value, default=_plain) for value in column]
    return pa.array(texts, pa.string()), True


def _plain(value: Any) -> Any:
    """For JSON: arrays as lists, numbers of NumPy as numbers, and anything else as text."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += " (kept)"
    return name


def _span_cells(data: Dataset) -> list[str | None]:
    lists: list[list[dict[str, Any]]] = [[] for _ in range(len(data))]
    for row in data.spans.to_dict("records"):
        lists[row["example"]].append({**{k: row[k] for k in PLACES[data.modality]}, "label": row["label"]})
    return [json.dumps(x) if seen else None for x, seen in zip(lists, data.span_scope, strict=True)]
