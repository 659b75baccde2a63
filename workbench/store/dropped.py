"""What people wrote about deleted concepts: it is written to a file of the study before the catalog drops it.

The file has a temporary name until the rows are gone from the catalog. If a process is killed in between, the temporary file is
compared with the catalog when the study is opened next: it is renamed if the rows are gone, and removed if they are still there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from workbench.errors import StudyError, disk_errors
from workbench.frames import records
from workbench.paths import PARTIAL, is_file, read_bytes
from workbench.processes import held, holding
from workbench.shapes import ShapeError, parse_json
from workbench.store import tables
from workbench.writing import write_beside

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

_PREFIX, _ENDING = "dropped-", ".json"


@contextmanager
def words_kept(study: StoredStudy, dropped: dict[sa.Table, sa.Select[Any]]) -> Iterator[None]:
    """A context that first writes what people wrote about concepts to a file; the caller deletes the rows inside. No rows, no
    file.

    Args:
        study: The study.
        dropped: Queries of the rows to delete, by table; of names, only those given by people are written.

    Raises:
        DiskFullError: There is no room for the file; the block was not begun.
    """
    kept = _words(study, dropped)
    if not kept:
        yield
        return
    text = json.dumps({"at": tables.now(), **kept}, indent=1, ensure_ascii=False, default=str)
    partial, path = _free(study.folder)
    try:
        with ExitStack() as open_files:
            with disk_errors("what people wrote about the dropped concepts"):
                file = open_files.enter_context(partial.open("x", encoding="utf-8"))
                open_files.enter_context(holding(file))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            yield
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if partial.exists():
        os.replace(partial, path)
    else:
        # On a file system without locks another process may have taken the file for a left-over.
        write_beside(path, text)


def finish_dropped(study: StoredStudy) -> None:
    """Finish the files that killed processes left: rename each, or remove it if nothing was dropped."""
    for partial in sorted(study.folder.glob(f"{_PREFIX}*{_ENDING}{PARTIAL}")):
        if not is_file(partial) or held(partial):
            continue
        if _still_there(study, partial):
            partial.unlink(missing_ok=True)
        else:
            os.replace(partial, _free(study.folder)[1])


def _words(study: StoredStudy, dropped: dict[sa.Table, sa.Select[Any]]) -> dict[str, list[dict[str, Any]]]:
    kept = {}
    for table, query in dropped.items():
        rows = study.catalog.frame(query).sort_values("id")
        if "source" in rows:
            rows = rows[rows["source"].eq("human")]
        if len(rows):
            kept[table.name] = records(rows)
    return kept


def _still_there(study: StoredStudy, partial: Path) -> bool:
    """Whether the catalog has all that a file holds, so that nothing was dropped."""
    try:
        found = parse_json(read_bytes(partial), numbers=False, halves=True)
    except ShapeError:
        # The file was cut short, and rows are deleted only after it is complete.
        return True
    except StudyError:
        return False
    for table in (tables.names, tables.notes, tables.collections, tables.interventions):
        ids = {row["id"] for row in found.get(table.name, [])}
        there = set(study.catalog.frame(sa.select(table.c.id))["id"]) if ids else ids
        if not ids <= there:
            return False
    return True


def _free(folder: Path) -> tuple[Path, Path]:
    """A temporary name and a name that no file has."""
    stem, number = f"{_PREFIX}{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}", 1
    path = folder / f"{stem}{_ENDING}"
    while path.exists() or path.with_name(f"{path.name}{PARTIAL}").exists():
        number += 1
        path = folder / f"{stem}-{number}{_ENDING}"
    return path.with_name(f"{path.name}{PARTIAL}"), path
