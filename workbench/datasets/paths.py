"""The folder of the bundled data: `data/` in a checkout, `workbench/data/` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import DataError

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir() -> Path:
    """The folder of the bundled data. DataError where the installation lacks it."""
    for folder in (_PACKAGE.parent / "data", _PACKAGE / "data"):
        if (folder / "brown.parquet").is_file():
            return folder
    raise DataError("The bundled data is missing from this installation: install concept-workbench again.")


def data_file(name: str) -> Path:
    """The file of one bundled table, by its name without the suffix."""
    path = data_dir() / f"{name}.parquet"
    if not path.is_file():
        raise DataError(f"The bundled file {path.name} is missing: install concept-workbench again.")
    return path
