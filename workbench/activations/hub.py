"""Activations in a Hugging Face data set on disk: a line a row, and a column of lists of numbers for each site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.activations.importing import Column, site_of
from workbench.datasets.readers import read_arrow
from workbench.errors import DataError, MissingExtraError


def read_hub(folder: Path) -> tuple[list[Column], pd.DataFrame]:
    """The sites of a data set, and the table of its other columns; splits follow one another in a column ``split``.

    Raises:
        DataError: It cannot be read, or a site's lists are not of one length.
        MissingExtraError: The package ``datasets`` is not installed.
    """
    try:
        import datasets as package
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "Reading a Hugging Face data set") from error
    try:
        found = package.load_from_disk(str(folder))
    except Exception as error:
        raise DataError(f"{folder} cannot be read as a Hugging Face data set: {error}") from error
    if isinstance(found, package.DatasetDict):
        parts = [
            part if "split" in part.column_names else part.add_column("split", [name] * len(part)) for name, part in found.items()
        ]
        found = package.concatenate_datasets(parts)
    lists = [name for name, feature in found.features.items() if isinstance(feature, package.Sequence | package.List)]
    sites = [_column(found.select_columns([name]).with_format("numpy"), name) for name in lists]
    return sites, read_arrow(found.remove_columns(lists).with_format(None).data.table)


def _column(part: Any, name: str) -> Column:
    site = site_of(name)
    if not len(part):
        raise DataError(f"The column {name} has no rows.")
    width = len(part[0][name])

    def read(rows: np.ndarray) -> np.ndarray:
        block = part[rows.tolist()][name]
        try:
            out = np.asarray(block, np.float32)
        except ValueError:
            out = np.empty((0, 0), np.float32)
        if out.shape != (len(rows), width):
            raise DataError(f"The column {name} must hold lists of {width} numbers, all of one length.")
        return out

    kind = str(part.features[name].feature.dtype)
    if not kind.startswith("float"):
        raise DataError(f"The column {name} holds lists of {kind}, not of floating point numbers.")
    return Column(site, len(part), width, kind if kind in {"float16", "float32"} else "float32", read)
