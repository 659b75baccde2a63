"""What the catalog keeps of a run as JSON: its options, inputs and provenance, in the shapes that all readers rely on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from workbench.errors import StudyError
from workbench.paths import shown
from workbench.processes import Identity
from workbench.shapes import faults


class RunInputs(TypedDict, total=False):
    """What a run read: activations and a data set, or other runs; analyses may keep more."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    activations: str
    sites: list[str] | None
    dataset: str
    dataset_hash: str
    splits_hash: str
    model: str
    weights_hash: str
    under: str
    parents: list[str]
    read: dict[str, str | list[str]]
    beside: dict[str, Any]


class Provenance(TypedDict, total=False):
    """Where and how a run was made."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    repeats: str
    process: Identity | Annotated[dict[str, Any], Field(max_length=0)]


class RunRecord(BaseModel):
    """The columns of a run that hold JSON."""

    config: dict[str, Any]
    inputs: RunInputs
    provenance: Provenance


def require_records(rows: Iterable[Mapping[str, Any]], called: str) -> None:
    """Check the JSON columns of run records.

    Args:
        rows: Of the catalog's table of runs.
        called: The name of the catalog in messages.

    Raises:
        StudyError: One is not; it is named, with what is wrong.
    """
    for row in rows:
        if problem := record_problem(row):
            raise StudyError(
                f"The run {shown(str(row['id']))} in {called} is not recorded as the workbench does it ({problem}): restore"
                " the catalog from a copy."
            )


def record_problem(row: Mapping[str, Any]) -> str:
    """What is wrong with the JSON of a run's record, as part of a sentence, or an empty text."""
    try:
        _records().validate_python({name: row[name] for name in RunRecord.model_fields})
    except ValidationError as error:
        return faults(error)
    return ""


@cache
def _records() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)
