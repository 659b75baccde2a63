"""Disk usage of a study: every file in its folder is counted once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.activations.manifest import parse_manifest, set_folders
from workbench.errors import StudyError
from workbench.frames import records
from workbench.paths import LOCK, PARTIAL, files_below, inside_or_none, named
from workbench.store.dependents import Needs
from workbench.store.members import CATALOG
from workbench.store.scratch import PREFIX
from workbench.store.texts import kept_records

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

COLUMNS = ["part", "name", "what", "files", "bytes", "needed_by"]
PARTS = {"runs": "run", "activations": "activations", "datasets": "dataset", "cache": "cache", "jobs": "job"}
UNFINISHED = "unfinished"


def usage(study: StoredStudy) -> pd.DataFrame:
    """Disk usage by part, the largest first.

    Returns:
        ``part, name, what, files, bytes, needed_by``: ``part`` is ``run``, ``activations``, ``dataset``, ``cache``, ``catalog``,
        ``job``, ``unfinished`` (what was cut short, and goes on or is dropped by a repair) or ``other``; ``what`` is the analysis
        of a run, the data of a set and the name of a data set; ``needed_by`` is how many runs, and kinds of words by people,
        depend on a run or a set (none, and :meth:`workbench.Study.delete` takes it). Every file in the study's folder is counted
        once; a catalog in PostgreSQL by what its tables take there, and what is at a remote not at all.
    """
    done = set(study.runs("done")["id"])
    sizes: dict[tuple[str, str], list[int]] = {}
    for path in files_below(study.folder):
        sizes.setdefault(_part_of(PurePosixPath(named(path, study.folder)), done), []).append(path.lstat().st_size)
    if study.catalog.postgres:
        from workbench.store.postgres import bytes_taken

        sizes[("catalog", study.catalog.called)] = [bytes_taken(study.catalog.engine)]
    described, needs = _described(study), Needs(study)
    rows = [
        {
            "part": part, "name": name, "what": described.get((part, name), ""), "files": len(lengths), "bytes": sum(lengths),
            "needed_by": len(needs.of(name)) if part in {"run", "activations"} else 0,
        }
        for (part, name), lengths in sizes.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["bytes", "part", "name"], ascending=[False, True, True], ignore_index=True)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(path.lstat().st_size for path in files_below(folder))


def _part_of(path: PurePosixPath, done: set[str]) -> tuple[str, str]:
    kind, *rest = path.parts
    if kind.startswith(CATALOG):
        return "catalog", CATALOG
    if kind not in PARTS or not rest:
        return (UNFINISHED if kind.endswith(PARTIAL) else "other"), kind
    name = rest[0]
    if kind == "cache" and name == UNFINISHED and len(rest) > 1:
        return UNFINISHED, f"cache/{UNFINISHED}/{rest[1]}"
    cut_short = (
        name.endswith((PARTIAL, LOCK)) or (kind == "cache" and name.startswith(PREFIX)) or (kind == "runs" and name not in done)
    )
    if cut_short:
        return UNFINISHED, f"{kind}/{name}"
    return PARTS[kind], Path(name).stem if kind == "datasets" else name


def _described(study: StoredStudy) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], Any] = {("run", row["id"]): row["analysis"] for row in records(study.runs())}
    for folder in set_folders(study.folder) if inside_or_none(study.folder, "activations") else []:
        with suppress(StudyError):
            found["activations", folder.name] = parse_manifest(folder).request.dataset
    return found | {("dataset", record["hash"][:16]): record["name"] for record in kept_records(study.folder)}
