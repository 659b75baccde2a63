"""Runs whose process was killed, and cleaning up after runs that failed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from workbench.errors import StudyError, WorkbenchError
from workbench.frames import records
from workbench.paths import PARTIAL, inside, remove_tree
from workbench.processes import has_ended

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

CUT_OFF = "Its process ended before it was done, for instance because the memory was full or the machine was switched off."


def undo_run(study: StoredStudy, run_id: str) -> None:
    """Remove what a failed run left: its files, and concepts that are already in the catalog."""
    for name in (f"{run_id}{PARTIAL}", run_id):
        # An id that is no valid folder name has no files, and links are left alone.
        with suppress(StudyError):
            remove_tree(inside(study.folder, "runs", name), ignore_errors=True)
    with suppress(WorkbenchError, OSError):
        study.catalog.remove_concepts(run_id)


def sweep(study: StoredStudy, status: str = "failed", why: str = CUT_OFF) -> list[str]:
    """Find runs recorded as running whose process no longer exists, record them with a status, and remove their partial files."""
    running = study.runs("running")
    swept = []
    for row in records(running):
        if has_ended(row["provenance"].get("process", {})):
            undo_run(study, str(row["id"]))
            study.catalog.update_run(row["id"], status=status, error=why)
            swept.append(str(row["id"]))
    return swept
