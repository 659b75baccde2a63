"""A study in one file: to keep, to send, or to publish beside a paper."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from workbench.errors import StudyError, disk_errors
from workbench.processes import shareable
from workbench.store.catalog import Catalog
from workbench.store.copying import copy_rows
from workbench.store.marker import STUDY_FILE, Marker, moved, read
from workbench.store.study import Study, open_study

if TYPE_CHECKING:
    from workbench.activations import ActivationSet

CATALOG = "catalog.db"
MANIFEST = "manifest.json"
MAX_MEMBERS = 200_000


def pack(study: Study, path: Path, activations: bool = False) -> Path:
    """Write a study into one zip file: catalog, runs, kept texts, and of the activations what they are.

    The activations themselves are most of a study, and the model and the data make them again
    (:meth:`workbench.Study.recapture`), so they are left out unless asked for. Runs that did not finish are left out, and so is
    what tells one machine from another.

    Args:
        study: The study.
        path: The file to write; nothing is left there when it fails.
        activations: Put the activations in as well.

    Raises:
        DiskFullError: There is no room.
    """
    if study.remote:
        study.pull(activations)
    path = path.expanduser().resolve()
    partial = path.with_name(f"{path.name}.partial")
    with disk_errors("the packed study"), tempfile.TemporaryDirectory() as scratch:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
                archive.writestr(STUDY_FILE, Marker(read(study.folder / STUDY_FILE, study.name).name).text())
                archive.write(_clean_catalog(study, Path(scratch) / CATALOG), CATALOG)
                for file in _files(study, activations):
                    archive.write(file, file.relative_to(study.folder).as_posix())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def unpack(path: str | Path, folder: str | Path, catalog: str | None = None) -> Study:
    """Make a study of a packed one and open it. The name of a bundled study stands for its file.

    Args:
        path: The file.
        folder: The folder to make.
        catalog: Where its catalog is to be; see :func:`workbench.open_study`.

    Raises:
        ConfigError: The catalog is in no database that can be used.
        StudyError: The file is no packed study, or the folder is taken.
    """
    from workbench.datasets.paths import data_dir

    source, home = Path(path).expanduser(), Path(folder).expanduser().resolve()
    if not source.is_file() and (bundled := data_dir() / "studies" / f"{path}.zip").is_file():
        source = bundled
    if not source.is_file():
        known = ", ".join(sorted(file.stem for file in (data_dir() / "studies").glob("*.zip")))
        raise StudyError(
            f"There is no packed study at {path}: give a file that `workbench pack` wrote, or a bundled name: {known}."
        )
    if home.exists() and (home.is_file() or any(home.iterdir())):
        raise StudyError(f"{folder} is there already; choose another folder, or remove it first.")
    with disk_errors("the study"):
        home.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
        try:
            _extract(source, partial)
            if catalog is not None:
                _move_catalog(partial, home.name, catalog)
            if home.exists():
                home.rmdir()
            os.replace(partial, home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_study(home, create=False)


def recapture(study: Study, progress: Callable[[int, int, str], None] | None = None) -> list[ActivationSet]:
    """Capture again every set of activations that was left out, with the same model, data and options.

    Raises:
        StudyError: The model, or the data, is not what it was.
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
        if request.edits:
            raise StudyError(f"The activations {acts.id} were captured under edits; capture them again as they were made.")
        again = study.capture(
            study.model, study.dataset_of(acts), list(request.sites), request.pool, positions=request.positions,
            store_dtype=request.dtype, limit=request.limit, progress=progress, **_drawing(acts),
        )  # fmt: skip
        if again.id != acts.id:
            raise StudyError(f"Captured again, the activations {acts.id} became {again.id}: the model reads texts differently.")
        found.append(again)
    return found


def _drawing(acts: ActivationSet) -> dict[str, Any]:
    """The options by which the examples of a set are drawn again. Sets from before there was a choice have the first ones."""
    rule = acts.manifest.sample
    return {"seed": None} if rule is None else {"seed": rule["seed"], "sample_by": rule["by"]}


def _files(study: Study, activations: bool) -> list[Path]:
    done = set(study.runs()["id"])
    runs = [f for run in sorted(done) for f in sorted((study.folder / "runs" / run).rglob("*"))]
    texts = sorted((study.folder / "datasets").glob("*"))
    rows = [f for acts in study.activations() for f in sorted(acts.folder.iterdir()) if activations or f.name == MANIFEST]
    return [file for file in [*runs, *texts, *rows] if file.is_file()]


def _clean_catalog(study: Study, path: Path) -> Path:
    """A copy of the catalog without unfinished runs and without host names, in SQLite wherever the study has its own."""
    if study.catalog.postgres:
        with closing(Catalog(f"sqlite:///{path.as_posix()}")) as target:
            copy_rows(study.catalog, target)
    else:
        with closing(sqlite3.connect(study.folder / CATALOG)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("pragma journal_mode = delete")
        copy.execute("delete from runs where status != 'done'")
        for run, record in copy.execute("select id, provenance from runs").fetchall():
            kept = json.dumps(shareable(json.loads(record or "{}")))
            copy.execute("update runs set provenance = ? where id = ?", (kept, run))
        copy.commit()
        copy.execute("vacuum")
    return path


def _move_catalog(folder: Path, name: str, url: str) -> None:
    """Move the catalog of a study that nobody has open into PostgreSQL."""
    marker = moved(name, url)
    with closing(Catalog(f"sqlite:///{folder.as_posix()}/{CATALOG}")) as source, closing(Catalog(marker.catalog)) as target:
        copy_rows(source, target)
    for file in folder.glob(f"{CATALOG}*"):
        file.unlink()
    (folder / STUDY_FILE).write_text(marker.text())


def _extract(source: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            if STUDY_FILE not in names or CATALOG not in names or len(names) > MAX_MEMBERS:
                raise StudyError(f"{source} is no packed study: it was not written by `workbench pack`.")
            for name in names:
                # A file from somebody else must not write outside the folder.
                inside = PurePosixPath(name)
                if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
                    raise StudyError(f"{source} holds a file named {name!r}, which lies outside the study: it is not opened.")
            archive.extractall(folder)
        # Where others have their catalog is no place to go to.
        (folder / STUDY_FILE).write_text(Marker(read(folder / STUDY_FILE, str(source)).name).text())
    except (zipfile.BadZipFile, EOFError) as error:
        raise StudyError(f"{source} is damaged or no packed study ({error}). Fetch it again.") from error
