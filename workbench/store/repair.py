"""Repairing a study: what is broken is dropped, so that the rest is consistent.

What can be recomputed is dropped: activations, runs with their concepts and evidence, and left-overs of interrupted work. Names,
notes and collections were made by people and cannot be recomputed: those of dropped concepts are written to a file first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from workbench.activations.manifest import MANIFEST, parse_manifest
from workbench.errors import StudyError
from workbench.frames import records
from workbench.paths import PARTIAL, drop_strange, home_problem, inside, inside_or_none, is_id, named, remove_tree
from workbench.progress import Progress
from workbench.store import tables
from workbench.store.dropped import words_kept
from workbench.store.ended import sweep
from workbench.store.own_evidence import lost_evidence
from workbench.store.scratch import drop_leftovers
from workbench.store.verify import Finding, findings, lost_concepts, orphaned
from workbench.writing import drop_leftover, leftovers_below

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

COLUMNS = ["part", "name", "mended", "action"]
BY_PEOPLE = (tables.names, tables.notes, tables.collections)
WHY = "Its files were damaged, and a repair of the study dropped them."


def repair(study: StoredStudy, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
    """Drop what is broken. Nothing is asked, and what people wrote about dropped concepts is kept in ``dropped-<time>.json``.

    Nothing is dropped at the remote: what is damaged there and intact here is copied there again.

    Args:
        study: The study.
        remote_content, progress: See :func:`workbench.store.verify.verify`.

    Returns:
        ``part, name, mended, action``, one row a thing that was broken; those that are not mended need a person.

    Raises:
        DiskFullError: There is no space for that file; nothing in the catalog was dropped.
    """
    broken = [f for f in findings(study, remote_content, progress) if f.state == "broken"]
    study.require_writable("the study")
    unsafe = _without_runs(study, broken)
    done = _leftovers(study)
    done += [_strange(study, f) for f in broken if f.part == "files" and f.name not in {"runs", *(name for _, name, *_ in done)}]
    done += unsafe
    done += _cache(study, broken) + _remote(study, broken)
    done += [_set(study, name) for name in _names(broken, "activations")]
    if any(f.part == "catalog" and f.name == "catalog.db" for f in broken):
        # A damaged catalog is no reason to drop runs.
        done.append(("catalog", "catalog.db", False, "The database is damaged: restore catalog.db from a copy."))
    elif not unsafe:
        done += _runs(study, [f for f in broken if f.part == "run"])
        done += _catalog(study)
    done += [("texts", f.name, False, f"Restore datasets/{f.file} from a copy.") for f in broken if f.part == "texts"]
    return pd.DataFrame(done, columns=COLUMNS)


def _names(found: Sequence[Finding], part: str) -> list[str]:
    return list(dict.fromkeys(f.name for f in found if f.part == part))


def _set(study: StoredStudy, name: str) -> tuple[str, str, bool, str]:
    folder = inside(study.folder, "activations", name)
    action = "The rest of a capture was dropped."
    if folder.suffix != PARTIAL:
        action = "It was dropped: capture it again as it was captured."
        try:
            request = parse_manifest(folder).request
            again = request.id == name
        except StudyError:
            again = False
        if again:
            # The manifest stays: runs refer to it, and the rows can be captured again by it.
            for path in [path for path in folder.iterdir() if path.name != MANIFEST]:
                _drop(path)
            return "activations", name, True, "Its rows were dropped: `workbench recapture` captures them again."
    remove_tree(folder)
    return "activations", name, True, action


def _without_runs(study: StoredStudy, broken: Sequence[Finding]) -> list[tuple[str, str, bool, str]]:
    """If the whole folder of runs is missing, drop none and say so: a person has to confirm that they are lost."""
    problem = home_problem(study.folder, "runs")
    missing = [name for name in _names(broken, "run") if is_id("runs", name)]
    if not problem or (problem == "missing" and not missing):
        return []
    action = (
        f"It is {problem}, and the files of every run belong in it; no run was dropped. Put the folder back in its"
        " place; if it is lost, make an empty folder 'runs' there and repair again, which drops the runs from the catalog."
    )
    return [("files", "runs", False, action)]


def _leftovers(study: StoredStudy) -> list[tuple[str, str, bool, str]]:
    return [
        ("files", named(path, study.folder), True, "It was not whole, nobody was writing it, and it was dropped.")
        for path in leftovers_below(study.folder)
        if drop_leftover(path)
    ]


def _strange(study: StoredStudy, finding: Finding) -> tuple[str, str, bool, str]:
    """Remove a link, a pipe or a folder that is nested too deep, but not the target of a link. A file with an unknown name is
    left."""
    if action := drop_strange(study.folder, finding.name):
        return "files", finding.name, True, action
    return "files", finding.name, False, "The workbench did not make it: look at it, and remove it."


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink()


def _runs(study: StoredStudy, broken: Sequence[Finding]) -> list[tuple[str, str, bool, str]]:
    done = [("run", run, True, "It was recorded as failed, and its rest dropped.") for run in sweep(study)]
    known = {str(row["id"]): row for row in records(study.runs(status=None))}
    broken_runs: list[str] = []
    called = study.catalog.called
    for name in [name for name in _names(broken, "run") if name not in {swept for _, swept, *_ in done}]:
        row = known.get(name)
        if not is_id("runs", name):
            # Its id is no valid folder name, so it can have no files.
            broken_runs.append(name)
            continue
        folder = inside(study.folder, "runs", name)  # Links in its place were removed above.
        if row is None and folder.suffix != PARTIAL:
            done.append(
                ("run", name, False, f"The catalog does not know it: restore {called} from a copy, or remove the folder.")
            )
        elif row is None or row["status"] != "done":
            remove_tree(folder, ignore_errors=True)
            done.append(("run", name, True, "The rest of a run that did not finish was dropped."))
        elif folder.is_dir() and (lost := _only_evidence_lost(study, name, broken)):
            study.catalog.insert(tables.evidence, lost)
            done.append(("run", name, True, f"{len(lost)} rows of its evidence were entered into the catalog again."))
        elif fetched := _fetched(study, name):
            done.append(fetched)
        else:
            broken_runs.append(name)
    return done + _drop_runs(study, broken_runs, known)


def _fetched(study: StoredStudy, name: str) -> tuple[str, str, bool, str] | None:
    """Fetch a damaged run from the remote; None if the remote lacks it. A run that may be intact there is not dropped here."""
    try:
        if study.remote is None or not study.remote.has("runs", name):
            return None
        study.remote.fetch_run(name, anew=True)
    except StudyError as error:
        return "run", name, False, f"It was left as it is: {error}"
    study._done.pop(name, None)
    return "run", name, True, "Its damaged files were dropped, and it was fetched from the remote again."


def _remote(study: StoredStudy, broken: Sequence[Finding]) -> list[tuple[str, str, bool, str]]:
    """Copy to the remote again what is damaged there and intact here."""
    if study.remote is None:
        return []
    from workbench.store.remote_check import put_again

    files: dict[str, list[str]] = {}
    for finding in broken:
        if finding.part == "remote":
            files.setdefault(finding.name, []).append(finding.file)
    return [("remote", name, *put_again(study, study.remote, name, which)) for name, which in files.items()]


def _cache(study: StoredStudy, broken: Sequence[Finding]) -> list[tuple[str, str, bool, str]]:
    drop_leftovers(study.folder)
    return [("cache", name, True, "The rest of a fetch that was cut short was dropped.") for name in _names(broken, "cache")]


def _only_evidence_lost(study: StoredStudy, name: str, broken: Sequence[Finding]) -> list[dict[str, Any]]:
    mine = [f for f in broken if f.part == "run" and f.name == name]
    if len(mine) != 1 or "lacks" not in mine[0].problem:
        return []
    with suppress(StudyError):
        return lost_evidence(study, study.get_run(name))
    return []


def _drop_runs(study: StoredStudy, broken_runs: list[str], known: dict[str, dict[str, Any]]) -> list[tuple[str, str, bool, str]]:
    done = []
    every = list(broken_runs)
    for name in every:
        # Runs made from the concepts of a dropped run refer to concepts that no longer exist.
        every += [i for i, row in known.items() if name in row["inputs"].get("parents", []) and i not in every]
    every = [name for name in every if known[name]["status"] in {"done", "running"}]
    mine = sa.select(tables.concepts.c.id).where(tables.concepts.c.run.in_(every))
    with words_kept(study, {table: sa.select(table).where(table.c.concept.in_(mine)) for table in BY_PEOPLE}):
        for name in every:
            study.catalog.remove_concepts(name)
            study.catalog.update_run(name, status="failed", error=WHY)
    for name in every:
        if (folder := inside_or_none(study.folder, "runs", name)) is not None:
            remove_tree(folder, ignore_errors=True)
        study._done.pop(name, None)
        why = "it is broken" if name in broken_runs else "it was made from one that is broken"
        done.append(("run", name, True, f"It was dropped with its concepts and evidence, for {why}: run it again."))
    return done


def _catalog(study: StoredStudy) -> list[tuple[str, str, bool, str]]:
    done = []
    lost = lost_concepts()
    ids = sa.select(lost.subquery().c.id)

    def to_drop(table: sa.Table) -> sa.Select[Any]:
        return sa.union(orphaned(table), sa.select(table).where(table.c.concept.in_(ids)))  # type: ignore[return-value]

    counts = {table.name: len(study.catalog.frame(to_drop(table))) for table in tables.ABOUT_CONCEPTS}
    counts[tables.concepts.name] = len(study.catalog.frame(lost))
    if not any(counts.values()):
        return []
    with words_kept(study, {table: to_drop(table) for table in BY_PEOPLE}), study.catalog.changing() as connection:
        for table in tables.ABOUT_CONCEPTS:
            connection.execute(sa.delete(table).where(table.c.id.in_(sa.select(to_drop(table).subquery().c.id))))
        connection.execute(sa.delete(tables.concepts).where(tables.concepts.c.id.in_(ids)))
    for name, count in counts.items():
        if count:
            done.append(("catalog", name, True, f"{count} rows about what is not there were dropped."))
    return done
