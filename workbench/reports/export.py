"""Tables and concept sets as plain files."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import ConfigError, disk_errors
from workbench.paths import child
from workbench.store.bound import concept_table
from workbench.store.exchange import write_frame
from workbench.writing import file_beside, folder_beside

if TYPE_CHECKING:
    from workbench.store.runs import Run
    from workbench.store.study import Study


def export_tables(study: Study, folder: Path, runs: Sequence[str] | None = None) -> list[Path]:
    """Write concepts, names, evidence and every run's tables, each as CSV and as Parquet.

    Args:
        study: The study.
        folder: Where to; it is made.
        runs: Only what belongs to these runs; everything when left out.

    Raises:
        UnknownNameError: There is no such run.
    """
    written: list[Path] = []
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
            run = study.get_run(run_id)
            frames |= {f"{run_id}.{name}": run.tables[name] for name in run.tables}
        for name, frame in frames.items():
            written += _write(frame, folder, name)
    return written


def zip_tables(study: Study, path: Path, runs: Sequence[str] | None = None) -> Path:
    """Write what :func:`export_tables` writes, as one zip file."""
    with tempfile.TemporaryDirectory() as folder, disk_errors("the tables"), file_beside(path) as partial:
        written = export_tables(study, Path(folder), runs)
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in written:
                archive.write(one, one.name)
    return path


def export_run(run: Run, folder: Path) -> list[Path]:
    """Write a run's concept sets and tables into a new folder.

    A sparse autoencoder's folder is what ``sae_lens.SAE.load_from_disk`` reads.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a folder that does not exist yet.")
    with disk_errors("the export"), folder_beside(folder) as partial:
        for number, concept_set in enumerate(run.sets):
            concept_set.save(partial if len(run.sets) == 1 else child(partial, str(number)))
        for name in run.tables:
            _write(run.tables[name], partial / "tables", name)
        shutil.copy(run.folder / "config.json", partial / "run.json")
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _write(frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    return [write_frame(frame, child(folder, f"{name}{end}")) for end in (".csv", ".parquet")]
