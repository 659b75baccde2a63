"""Tables and concept sets as plain files."""

from __future__ import annotations

import functools
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import ConfigError, disk_errors
from workbench.paths import child, files_below
from workbench.reports.parts import LeftOut
from workbench.store.concept_list import concept_table
from workbench.store.exchange import write_frame
from workbench.store.parts import PARTS
from workbench.writing import file_beside, folder_beside

if TYPE_CHECKING:
    from workbench.store.runs import Run
    from workbench.study import Study


def export_tables(study: Study, folder: Path, runs: Sequence[str] | None = None, raw: bool = False) -> list[Path]:
    """Write concepts, names, evidence and every run's tables, each as CSV and as Parquet.

    Args:
        study: The study.
        folder: Where to; it is made.
        runs: Only what belongs to these runs; everything when left out.
        raw: Texts in CSV as they are; see :func:`workbench.store.exchange.write_frame`.

    Returns:
        The files. A table that is broken or not here is left out, and named with the reason in one called ``left_out``.

    Raises:
        UnknownNameError: There is no such run.
    """
    written, left_out = list[Path](), LeftOut()
    every = study.runs()["id"].tolist()
    chosen = every if runs is None else [study.get_run(i).id for i in runs]
    with disk_errors("the tables"):
        folder.mkdir(parents=True, exist_ok=True)
        names, evidence, concepts = study.catalog.names(), study.evidence(), concept_table(study)
        if runs is not None:
            concepts = concepts[concepts["run"].isin(chosen)]
            names, evidence = (t[t["concept"].isin(concepts["id"])] for t in (names, evidence))
        frames = {"concepts": concepts, "names": names, "evidence": evidence}
        for run_id in chosen:
            tables: dict[str, Callable[[], pd.DataFrame]] = left_out.unless_broken(
                f"run {run_id}", functools.partial(_tables, study, run_id), {}
            )
            for name, read in tables.items():
                frame = left_out.unless_broken(name, functools.partial(_nameable, folder, name, read), None)
                frames |= {} if frame is None else {name: frame}
        without = [*left_out, *left_out.missing]
        frames |= {"left_out": pd.DataFrame(without, columns=["what", "why"])} if without else {}
        for name, frame in frames.items():
            written += _write(frame, folder, name, raw)
    return written


def _tables(study: Study, run_id: str) -> dict[str, Callable[[], pd.DataFrame]]:
    run = study.get_run(run_id)
    found: dict[str, Callable[[], pd.DataFrame]] = {
        f"{run_id}.{name}": functools.partial(run.tables.__getitem__, name) for name in run.tables
    }
    for name in run.graphs:
        found[f"{run_id}.{name}.nodes"] = lambda name=name: run.graphs[name].nodes  # type: ignore[misc]
        found[f"{run_id}.{name}.edges"] = lambda name=name: run.graphs[name].edges  # type: ignore[misc]
    return found


def _nameable(folder: Path, name: str, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table, if files can be called as it is."""
    _files(folder, name)
    return read()


def zip_tables(study: Study, path: Path, runs: Sequence[str] | None = None, raw: bool = False) -> Path:
    """Write what :func:`export_tables` writes, as one zip file."""
    with tempfile.TemporaryDirectory() as folder, disk_errors("the tables"), file_beside(path) as partial:
        written = export_tables(study, Path(folder), runs, raw)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in written:
                archive.write(one, one.name)
    return path


def export_run(run: Run, folder: Path, raw: bool = False) -> list[Path]:
    """Write a run's concept sets, tables, graphs, heads and models into a new folder.

    ``raw`` is that of :func:`workbench.store.exchange.write_frame`.

    A sparse autoencoder's folder is what ``sae_lens.SAE.load_from_disk`` reads.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a folder that does not exist yet.")
    with disk_errors("the export"), folder_beside(folder) as partial:
        for number, concept_set in enumerate(run.sets):
            concept_set.save(partial if len(run.sets) == 1 else child(partial, str(number)))
        # As they are: their kinds need not be installed here.
        for file in [file for kind in PARTS for file in files_below(child(run.folder, kind))]:
            copied = child(partial, file.relative_to(run.folder).as_posix())
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copied)
        for name in run.tables:
            _write(run.tables[name], partial / "tables", name, raw)
        shutil.copy(run.folder / "config.json", partial / "run.json")
    return sorted(files_below(folder))


def _write(frame: pd.DataFrame, folder: Path, name: str, raw: bool) -> list[Path]:
    return [write_frame(frame, file, raw) for file in _files(folder, name)]


def _files(folder: Path, name: str) -> list[Path]:
    return [child(folder, f"{name}{end}") for end in (".csv", ".parquet")]
