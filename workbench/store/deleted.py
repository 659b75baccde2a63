"""Runs and activation sets that the catalog records as deleted, and the files of them that are still there.

A process that is killed after a deletion was recorded leaves files. They are removed when the study is opened next, on each
machine that has some, and from its remote by the next push.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from workbench.paths import LOCK, PARTIAL, inside_or_none, is_id, remove_tree
from workbench.processes import drop_lock
from workbench.shapes import reading, shaped
from workbench.store import tables
from workbench.store.dropped import finish_dropped

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

DELETED = "deleted"
"""The status of a run whose record is kept; the key of a set's record begins with it."""
SET_KEY = f"{DELETED} activations "


def deleted_sets(study: StoredStudy) -> dict[str, dict[str, str]]:
    """The records of the sets that were deleted and not captured again: ``at``, ``data`` and ``said``, by id."""
    rows = study.catalog.frame(sa.select(tables.info).where(tables.info.c.key.like(f"{SET_KEY}%")))
    with reading(f"The record of a deleted set in {study.catalog.called}", "Restore the catalog from a copy."):
        return {
            key.removeprefix(SET_KEY): shaped(value, dict[str, str])
            for key, value in zip(rows["key"], rows["value"], strict=True)
        }


def deleted_parts(study: StoredStudy) -> list[tuple[Literal["runs", "activations"], str]]:
    """The kinds and ids of the runs and sets that are recorded as deleted."""
    runs = study.catalog.frame(sa.select(tables.runs.c.id).where(tables.runs.c.status == DELETED))["id"]
    found: list[tuple[Literal["runs", "activations"], str]] = [("runs", run) for run in runs if is_id("runs", run)]
    return found + [("activations", name) for name in deleted_sets(study) if is_id("activations", name)]


def finish_deletions(study: StoredStudy) -> None:
    """Remove the files of what the catalog records as deleted, which a killed process or another machine left.

    So are the locks of killed processes, except those of captures that can be resumed. A file with people's notes that a killed
    process began gets its final name, or is removed if nothing was dropped.
    """
    if study.read_only:
        return
    finish_dropped(study)
    for lock in _locks(study):
        drop_lock(lock)
    for kind, name in deleted_parts(study):
        # Anything else in its place is reported by `workbench study verify`.
        if (folder := inside_or_none(study.folder, kind, name)) is not None and folder.is_dir():
            remove_tree(folder, ignore_errors=True)


def _locks(study: StoredStudy) -> list[Path]:
    home = inside_or_none(study.folder, "activations")
    found = home.glob(f"*{LOCK}") if home is not None else ()
    return [path for path in found if is_id("activations", path.name) and not path.with_suffix(PARTIAL).exists()]


def revive(study: StoredStudy, name: str) -> None:
    """Forget that a set was deleted, because it is about to be captured again."""
    if name in deleted_sets(study):
        finish_deletions(study)
        with study.catalog.changing() as connection:
            connection.execute(sa.delete(tables.info).where(tables.info.c.key == f"{SET_KEY}{name}"))


def remove_deleted(study: StoredStudy) -> list[str]:
    """Remove from the remote what the catalog records as deleted. Returns what was removed, such as ``runs/ID``."""
    remote, parts = study.remote, deleted_parts(study)
    if remote is None or not parts:
        return []
    there = {tuple(path.split("/")[:2]) for path in remote.listing()}
    places = [(place, name) for kind, name in parts for place in ((kind, "left_out") if kind == "activations" else (kind,))]
    removed = [(place, name) for place, name in places if (place, name) in there]
    for place, name in removed:
        remote.remove(place, name)
    return [f"{place}/{name}" for place, name in removed]
