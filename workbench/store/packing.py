"""A study in one file: to keep, to send, or to publish beside a paper."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.activations.manifest import MANIFEST
from workbench.errors import StudyError, disk_errors
from workbench.paths import files_below, inside, is_id
from workbench.processes import shareable
from workbench.progress import Progress, adding
from workbench.shapes import parse_json
from workbench.store.capturing import capture_into
from workbench.store.catalog import Catalog
from workbench.store.copying import copy_rows
from workbench.store.edited import edits_of
from workbench.store.members import CATALOG, STUDY_FILE, belongs
from workbench.store.remote_copy import pull
from workbench.store.study_file import StudyFile, read
from workbench.writing import file_beside

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.store.stored_study import StoredStudy
    from workbench.study import Study


_BLOCK, _LARGE = 1 << 22, 1 << 30


def pack(study: StoredStudy, path: Path, activations: bool = False, progress: Progress | None = None) -> Path:
    """Write a study into one zip file: catalog, runs, kept texts, and of the activations what they are.

    The activations themselves are most of a study, and the model and the data make them again
    (:meth:`workbench.Study.recapture`), so they are left out unless asked for. Runs that did not finish are left out, and so is
    what tells one machine from another.

    Args:
        study: The study.
        path: The file to write; nothing is left there when it fails.
        activations: Put the activations in as well.
        progress: Called with the bytes that were packed, those there are, and a text.

    Raises:
        DiskFullError: There is no room.
    """
    if study.remote:
        study.require_writable("the study")
        pull(study, study.remote, activations)
    path = path.expanduser().resolve()
    with (
        disk_errors("the packed study"), tempfile.TemporaryDirectory() as scratch, file_beside(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):  # fmt: skip
        archive.writestr(STUDY_FILE, StudyFile(read(study.folder / STUDY_FILE, study.name).name).text())
        archive.write(_clean_catalog(study, Path(scratch) / CATALOG), CATALOG)
        files = list(_files(study, activations))
        packed = adding(progress, sum(file.stat().st_size for file in files), "packing the study")
        for file in files:
            _add(archive, file, file.relative_to(study.folder).as_posix(), packed)
    return path


def _add(archive: zipfile.ZipFile, file: Path, name: str, packed: Callable[[int], None]) -> None:
    # zipfile must be told in advance of a member that may exceed 2 GiB.
    with file.open("rb") as source, archive.open(name, "w", force_zip64=file.stat().st_size >= _LARGE) as target:
        while block := source.read(_BLOCK):
            target.write(block)
            packed(len(block))


def recapture(study: StoredStudy, progress: Progress | None = None) -> list[ActivationSet]:
    """Capture again every set of activations that was left out, with the same model, data and options.

    Raises:
        StudyError: The model, the data, or an edit that a set was captured under, is not what it was.
    """
    found = []
    for acts in study.activations():
        request = acts.manifest.request
        if acts.left_out and acts.fetch:
            acts.fetch(acts.folder)
        if not acts.left_out:
            continue
        if "imported" in request.inputs:
            raise StudyError(f"The activations {acts.id} were imported, not captured: import them again (`workbench import`).")
        under = edits_of(cast("Study", study), acts)
        again = capture_into(
            study, study.model, study.dataset_of(acts), list(request.sites), request.pool, positions=request.positions,
            store_dtype=request.dtype, limit=request.limit, progress=progress, under=under, **_drawing(acts),
        )  # fmt: skip
        if again.id != acts.id:
            raise StudyError(f"Captured again, the activations {acts.id} became {again.id}: the model reads texts differently.")
        found.append(again)
    return found


def _drawing(acts: ActivationSet) -> dict[str, Any]:
    """The options by which the examples of a set are drawn again. Sets from before there was a choice have the first ones."""
    rule = acts.manifest.sample
    return {"seed": None} if rule is None else {"seed": rule["seed"], "sample_by": rule["by"]}


def _files(study: StoredStudy, activations: bool) -> Iterator[Path]:
    """What is packed besides the catalog: files of finished runs, kept texts, and of sets their manifests or all of them.

    Links are never followed and unknown files are left out: in a shared study they could expose files of this user.
    """
    folders = [inside(study.folder, "runs", str(run)) for run in study.runs()["id"] if is_id("runs", run)]
    folders += [inside(study.folder, "datasets"), *(acts.folder for acts in study.activations())]
    for path in (path for folder in folders for path in files_below(folder)):
        name = path.relative_to(study.folder).as_posix()
        if belongs(name) and (activations or not name.startswith("activations/") or path.name == MANIFEST):
            yield path


def _clean_catalog(study: StoredStudy, path: Path) -> Path:
    """A copy of the catalog without unfinished runs and without host names, in SQLite wherever the study has its own."""
    with closing(Catalog(f"sqlite:///{path.as_posix()}")) as target:
        copy_rows(study.catalog, target)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("pragma journal_mode = delete")
        copy.execute("delete from runs where status != 'done'")
        for run, record in copy.execute("select id, provenance from runs").fetchall():
            kept = json.dumps(shareable(parse_json(record or "{}", numbers=False, halves=True)))
            copy.execute("update runs set provenance = ? where id = ?", (kept, run))
        copy.commit()
        copy.execute("vacuum")
    return path
