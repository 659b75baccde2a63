"""Verification of a study: every file against its checksum and the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import sqlalchemy as sa

from workbench.activations.checksums import damage, sha256_of
from workbench.activations.journal import JOURNAL
from workbench.activations.manifest import MANIFEST, left_out, parse_manifest
from workbench.errors import StudyError, WorkbenchError
from workbench.frames import records
from workbench.parquet import read_parquet
from workbench.paths import (
    KINDS,
    LOCK,
    PARTIAL,
    child,
    files_below,
    inside_or_none,
    is_file,
    is_id,
    listed,
    named,
    oddities,
    read_bytes,
    strange,
    too_deep,
)
from workbench.processes import has_ended, held
from workbench.progress import Progress, adding
from workbench.shapes import parse_json
from workbench.store import tables
from workbench.store.kinds import require_kinds
from workbench.store.members import in_run
from workbench.store.own_evidence import lost_evidence
from workbench.store.parts import problems
from workbench.store.runs import CHECKSUMS, parse_sums
from workbench.store.scratch import leftovers
from workbench.store.usage import folder_bytes
from workbench.writing import leftovers_below

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

State = Literal["broken", "unfinished", "unchecked"]
Part = Literal["activations", "run", "catalog", "texts", "cache", "files", "remote"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        part: ``activations``, ``run``, ``catalog``, ``texts``, ``cache``, ``files`` (links, pipes and the like) or ``remote``.
        name: Of the set, run or table; at the remote its path there, or the remote's URL when it was not reached.
        file: The file within its folder; empty when it is not about one file.
        state: ``broken`` cannot be used and is dropped by a repair; ``unfinished`` goes on when the same call is made again;
            ``unchecked`` may be well, but there is nothing to check it against.
        problem: A sentence.
    """

    part: Part
    name: str
    file: str
    state: State
    problem: str


def verify(study: StoredStudy, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
    """Read every byte of a study and report what is wrong.

    Args:
        study: The study.
        remote_content: Read every byte at its remote too; otherwise only names and sizes are compared.
        progress: Called with the bytes that were read, those there are, and a text.

    Returns:
        One row a :class:`Finding`: ``part, name, file, state, problem``; none when all is well. What was left out when the study
        was packed is not missing.
    """
    found = findings(study, remote_content, progress)
    return pd.DataFrame([asdict(f) for f in found], columns=["part", "name", "file", "state", "problem"])


def findings(study: StoredStudy, remote_content: bool = False, progress: Progress | None = None) -> list[Finding]:
    """The findings of :func:`verify`."""
    there, unreached = _elsewhere(study)
    strange_files = list(_files(study))
    # A folder that is a link does not belong to this study; its content is not checked.
    lost = {found.name for found in strange_files}
    folders = [folder for kind in ("activations", "runs") if kind not in lost for folder in listed(study.folder, kind)]
    read = adding(progress, sum(map(folder_bytes, folders)), "reading every byte")
    here = [] if "activations" in lost else list(_activations(study, read))
    here += _texts(study)
    here += _damaged(study) or ([] if "runs" in lost else [*_runs(study, there, read), *_catalog(study)])
    here += strange_files if "cache" in lost else [*_cache(study), *strange_files]
    here += _leftovers(study)
    if there is None or lost & {"runs", "activations", "datasets"}:
        return [*here, *unreached]
    return [*here, *_remote(study, there, here, remote_content)]


def _elsewhere(study: StoredStudy) -> tuple[dict[str, int] | None, list[Finding]]:
    """The listing of the remote, or None and a finding that says why it is unknown; nothing without a remote."""
    if study.remote is None:
        return {}, []
    try:
        return study.remote.listing(), []
    except WorkbenchError as error:
        problem = f"What is there was not looked at. {error}"
        return None, [Finding("remote", study.remote.url, "", "unchecked", problem)]


def _remote(study: StoredStudy, there: dict[str, int], here: list[Finding], content: bool) -> Iterator[Finding]:
    if study.remote is None:
        return
    from workbench.store.remote_check import check

    folders = {"activations": "activations", "run": "runs"}
    unsound = {f"{folders[f.part]}/{f.name}" for f in here if f.part in folders and f.state == "broken"}
    try:
        for name, file, state, problem in check(study, study.remote, there, unsound, content):
            yield Finding("remote", name, file, state, problem)
    except StudyError as error:
        yield Finding("remote", study.remote.url, "", "unchecked", f"The rest of what is there was not looked at. {error}")


def _files(study: StoredStudy) -> Iterator[Finding]:
    """Links, pipes and the like outside of runs and sets."""
    for kind in KINDS:
        for path, problem in strange(study.folder, kind):
            yield Finding("files", named(path, study.folder), "", "broken", f"It is {problem}. It is not read or followed.")
    names = (named(path, study.folder) for path in too_deep(study.folder))
    # Unknown files may be somebody's; one of many is enough to report.
    if beside := next((name for name in names if name.partition("/")[0] not in KINDS), ""):
        problem = "It is a folder deeper than any of a study, and what lies in it was not looked at."
        yield Finding("files", beside, "", "unchecked", problem)


def _cache(study: StoredStudy) -> Iterator[Finding]:
    for folder in leftovers(study.folder):
        yield Finding("cache", folder.name, "", "broken", "It is the rest of what a process fetched that was killed.")


def _leftovers(study: StoredStudy) -> Iterator[Finding]:
    """Left-overs of killed processes. What a live process is writing is no finding."""
    for path in leftovers_below(study.folder):
        problem = "It is the rest of what a process was writing that was killed."
        yield Finding("files", named(path, study.folder), "", "broken", problem)


def _activations(study: StoredStudy, read: Callable[[int], None]) -> Iterator[Finding]:
    for folder in listed(study.folder, "activations"):
        if folder.suffix == PARTIAL:
            yield from _partial_set(folder)
            continue
        found = list(damage(folder, read))
        for file, problem in found:
            yield Finding("activations", folder.name, file, "broken", problem)
        if not found and not left_out(folder) and not parse_manifest(folder).files:
            problem = "It was captured before there were checksums: its bytes cannot be checked."
            yield Finding("activations", folder.name, MANIFEST, "unchecked", problem)


def _partial_set(folder: Path) -> Iterator[Finding]:
    if held(folder.with_suffix(LOCK)):
        yield Finding("activations", folder.name, "", "unfinished", "It is being captured now.")
    elif any(oddities(folder)):
        yield Finding(
            "activations", folder.name, "", "broken", "It is the rest of a capture, with links, pipes or folders too deep in it."
        )
    elif is_file(folder / JOURNAL):
        yield Finding("activations", folder.name, "", "unfinished", "Its capture was cut short; the same capture goes on.")
    elif not any(damage(folder)):
        yield Finding("activations", folder.name, "", "unfinished", "It is whole; the same capture gives it its name.")
    else:
        yield Finding("activations", folder.name, "", "broken", "It is the rest of a capture that cannot go on.")


def _texts(study: StoredStudy) -> Iterator[Finding]:
    """The study's own copies of data sets."""
    from workbench.store.texts import check_copy, copy_path, kept_records, unread_records

    for name, problem in unread_records(study.folder):
        yield Finding("texts", name, name, "broken", problem)
    seen: set[str] = set()
    for record in kept_records(study.folder):
        try:
            copy = copy_path(study.folder, record["hash"])
        except StudyError as error:
            if not is_id("datasets", f"{record['hash'][:16]}.json"):
                yield Finding("texts", record["name"], "", "broken", f"The kept texts cannot be read: {error}")
            # Anything else in its place is reported by `_files`.
            continue
        if copy.name in seen or not is_file(copy):
            continue
        seen.add(copy.name)
        try:
            check_copy(study.folder, record)
        except (WorkbenchError, OSError, ValueError) as error:
            yield Finding("texts", record["name"], copy.name, "broken", f"The kept texts cannot be read as they were: {error}")


def _runs(study: StoredStudy, there: dict[str, int] | None, read: Callable[[int], None]) -> Iterator[Finding]:
    known = {str(row["id"]): row for row in records(study.runs(status=None))}
    for name, row in known.items():
        if not is_id("runs", name):
            if row["status"] in {"done", "running"}:
                yield Finding("run", name, "", "broken", "It is called as the workbench calls no run: there are no files of it.")
            continue
        folder = inside_or_none(study.folder, "runs", name)
        if row["status"] == "running" and has_ended(row["provenance"].get("process", {})):
            yield Finding("run", name, "", "broken", "It is recorded as running, but its process has ended.")
        elif folder is None:
            if row["status"] == "done":
                yield Finding("run", name, "", "broken", "There is a link or a pipe in the place of its folder.")
        elif row["status"] == "done" and not folder.is_dir() and (there is None or f"runs/{name}/{CHECKSUMS}" in there):
            continue
        elif row["status"] == "done" and not folder.is_dir():
            yield Finding("run", name, "", "broken", "Its folder is missing.")
        elif row["status"] == "done":
            yield from _finished_run(study, row, folder)
            read(folder_bytes(folder))
    for folder in listed(study.folder, "runs"):
        name = folder.name.removesuffix(PARTIAL)
        if name in known and known[name]["status"] == "deleted" and folder.suffix != PARTIAL:
            yield Finding("run", name, "", "unfinished", "It was deleted; its files go when the study is opened next.")
        elif name not in known or known[name]["status"] not in ({"running"} if folder.suffix == PARTIAL else {"running", "done"}):
            yield Finding("run", folder.name, "", "broken", "It is the rest of a run that did not finish.")


def _finished_run(study: StoredStudy, row: dict[str, Any], folder: Path) -> Iterator[Finding]:
    name = str(row["id"])
    damaged = list(damaged_files(folder))
    for file, problem in damaged:
        yield Finding("run", name, file, "broken", problem)
    if damaged:
        return
    if not (folder / CHECKSUMS).exists():
        yield Finding("run", name, "", "unchecked", "It was finished before there were checksums: its files can be read.")
    run = study.run_of(row)
    try:
        count = sum(header.concepts for header in run.set_headers)
        if run.not_installed:
            yield Finding("run", name, "concepts", "unchecked", f"Its files are whole. {run.not_installed}")
        else:
            count = sum(len(concepts) for concepts in run.sets)
    except Exception as error:
        yield Finding("run", name, "concepts", "broken", f"Its concepts cannot be read: {error}")
        return
    for part, not_installed, why in problems(run):
        said = f"Its files are whole. {why}" if not_installed else why
        yield Finding("run", name, part, "unchecked" if not_installed else "broken", said)
    entered = _count(study, sa.select(tables.concepts.c.id).where(tables.concepts.c.run == name))
    if entered != count:
        yield Finding("run", name, "", "broken", f"It has {count} concepts, and the catalog {entered} of them.")
    try:
        missing = len(lost_evidence(study, run))
    except StudyError as error:
        yield Finding("run", name, "tables/evidence.parquet", "broken", str(error))
        return
    if missing:
        yield Finding("run", name, "tables/evidence.parquet", "broken", f"The catalog lacks {missing} rows of its evidence.")


def damaged_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Damaged files of a run, each with its problem. Reads every byte of the run."""
    found = {named(path, folder): problem for path, problem in oddities(folder)}
    for name, problem in found.items():
        yield name, f"It is {problem}."
    try:
        sums = parse_sums(read_bytes(folder / CHECKSUMS)) if (folder / CHECKSUMS).exists() else {}
    except StudyError as error:
        yield CHECKSUMS, str(error)
        return
    there = {name for path in files_below(folder) if in_run(name := path.relative_to(folder).as_posix())}
    sums = {name: sum_ for name, sum_ in sums.items() if name not in found}
    for name in sorted(set(sums) | there):
        if name not in there:
            yield name, "It is missing."
        elif name in sums and sha256_of(child(folder, name)) != sums[name]:
            yield name, "Its checksum is not that of what was written."
        elif problem := _unreadable(child(folder, name)):
            yield name, problem


def _unreadable(path: Path) -> str:
    """Why a file cannot be read as the type of its extension, or an empty text."""
    from safetensors import safe_open

    try:
        if path.suffix == ".parquet":
            require_kinds(path.stem, read_parquet(path), path.parent.parent.name)
        elif path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                file.keys()
        elif path.suffix == ".json":
            parse_json(read_bytes(path), numbers=False, halves=True)
    except Exception as error:
        return f"It cannot be read: {error}".split("\n")[0]
    return ""


def _damaged(study: StoredStudy) -> list[Finding]:
    """Damage that SQLite finds in the catalog. A damaged catalog is not checked further."""
    if study.catalog.postgres:
        return []
    try:
        with study.catalog.engine.connect() as connection:
            answer = connection.exec_driver_sql("pragma integrity_check").scalars().first()
    except StudyError as error:
        answer = str(error)
    problem = f"The database is damaged ({answer}): restore catalog.db from a copy."
    return [] if answer == "ok" else [Finding("catalog", "catalog.db", "", "broken", problem)]


def _catalog(study: StoredStudy) -> Iterator[Finding]:
    for table in tables.ABOUT_CONCEPTS:
        orphans = _count(study, orphaned(table))
        if orphans:
            yield Finding("catalog", table.name, "", "broken", f"{orphans} rows are about concepts that are not there.")
    orphans = _count(study, lost_concepts())
    if orphans:
        yield Finding("catalog", "concepts", "", "broken", f"{orphans} concepts are of runs that are not there.")


def orphaned(table: sa.Table) -> sa.Select[Any]:
    """The rows of a table about concepts that the catalog does not have."""
    return sa.select(table).where(table.c.concept.not_in(sa.select(tables.concepts.c.id)))


def lost_concepts() -> sa.Select[Any]:
    """The concepts of runs that the catalog does not have, or that did not finish."""
    alive = sa.select(tables.runs.c.id).where(tables.runs.c.status.in_(["done", "running"]))
    return sa.select(tables.concepts).where(tables.concepts.c.run.not_in(alive))


def _count(study: StoredStudy, query: sa.Select[Any]) -> int:
    with study.catalog.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
