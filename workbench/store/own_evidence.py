"""Evidence as the tables of a run have it, and as the catalog takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from workbench.frames import records
from workbench.shapes import ShapeError, reading
from workbench.store import tables
from workbench.store.catalog import plain
from workbench.store.migrations import with_both_p_values
from workbench.store.rows import problem_of
from workbench.store.run_kinds import EXAMINATION

if TYPE_CHECKING:
    from workbench.store.runs import Run
    from workbench.store.stored_study import StoredStudy


def own_evidence(table: pd.DataFrame, run: str, dataset: str) -> pd.DataFrame:
    """The table of evidence of a run that scored its own concepts.

    Args:
        table: Rows with the ``place`` of a concept among those of the run (`workbench.analysis.Result.evidence`).
        run: The id of the run.
        dataset: The name of the data that the scores were measured on.
    """
    given = table.assign(concept=[f"{run}.{place}" for place in table["place"]], dataset=dataset)
    # Without the run, which its folder names: of a repetition it is another.
    given = given.reindex(columns=[column for column in tables.EVIDENCE_COLUMNS if column != "run"])
    return given.assign(label=given["label"].fillna("").astype(str), status=given["status"].fillna("ok"))


def entry(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a run's own table as the catalog takes it.

    Raises:
        ShapeError: It holds what no row of evidence does.
    """
    row = with_both_p_values(row)
    found = {column: plain(row.get(column)) for column in tables.EVIDENCE_COLUMNS}
    for column in tables.evidence.columns:
        # Counts are floats where some are missing.
        if isinstance(column.type, sa.Integer) and isinstance(found.get(column.name), float):
            found[column.name] = int(found[column.name])
    if problem := problem_of(tables.evidence, found):
        raise ShapeError(problem)
    return found


def lost_evidence(study: StoredStudy, run: Run) -> list[dict[str, Any]]:
    """The rows of a run's own table of evidence that the catalog should have, when it has none of them.

    Raises:
        StudyError: The table holds what no row of evidence does.
    """
    if "evidence" not in run.tables:
        return []
    # The evidence of an examination that was repeated is that of the first one.
    if run.analysis == EXAMINATION and run.record["provenance"].get("repeats"):
        return []
    if len(study.catalog.frame(sa.select(tables.evidence.c.id).where(tables.evidence.c.run == run.id).limit(1))):
        return []
    known = set(study.catalog.frame(sa.select(tables.concepts.c.id))["id"])
    with reading(f"The table of evidence of {run.id}"):
        table = run.tables["evidence"]
        return [entry(row) for row in records(table[table["concept"].isin(known)].assign(run=run.id))]
