"""Tables and concept sets as plain files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import ConfigError, disk_errors
from workbench.store.bound import concept_table

if TYPE_CHECKING:
    from workbench.store.runs import Run
    from workbench.store.study import Study


def export_tables(study: Study, folder: Path) -> list[Path]:
    """Write concepts, names, evidence and every run's tables, each as CSV and as Parquet."""
    written: list[Path] = []
    with disk_errors("the tables"):
        folder.mkdir(parents=True, exist_ok=True)
        frames = {
            "concepts": concept_table(study),
            "names": study.catalog.names(),
            "evidence": study.evidence(),
        }
        for run_id in study.runs()["id"]:
            run = study.get_run(run_id)
            frames |= {f"{run_id}.{name}": run.tables[name] for name in run.tables}
        for name, frame in frames.items():
            written += _write(frame, folder / name)
    return written


def export_run(run: Run, folder: Path) -> list[Path]:
    """Write a run's concept sets and tables into a new folder.

    A sparse autoencoder's folder is what ``sae_lens.SAE.load_from_disk`` reads.

    Raises:
        ConfigError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a folder that does not exist yet.")
    with disk_errors("the export"):
        for number, concept_set in enumerate(run.sets):
            concept_set.save(folder if len(run.sets) == 1 else folder / str(number))
        for name in run.tables:
            _write(run.tables[name], folder / "tables" / name)
        shutil.copy(run.folder / "config.json", folder / "run.json")
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _write(frame: pd.DataFrame, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.parquet")]
    frame.to_csv(paths[0], index=False)
    frame.to_parquet(paths[1], index=False, compression="zstd")
    return paths
