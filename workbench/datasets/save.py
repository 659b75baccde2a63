"""A text data set as a Parquet file that loads back as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workbench.datasets.spans import PLACES
from workbench.errors import DataError, disk_errors

if TYPE_CHECKING:
    from workbench.datasets.dataset import Dataset


def save_parquet(data: Dataset, path: Path) -> Path:
    """Write the examples, splits, groups, labels and spans; the file appears only when it is whole."""
    if data.modality != "text":
        raise DataError("Only a data set of texts can be saved: keep the image files, and a table of their paths.")
    if path.suffix != ".parquet":
        raise DataError(f"A data set is saved as Parquet: give a name that ends in .parquet, not '{path.name}'.")
    frame = data.table[["text", "split", "group", *(label.name for label in data.example_labels)]].copy()
    if data.of_conversations:
        frame["text"] = pd.Series([text.to_json() for text in data.table["text"]], dtype=object)
    if data.span_scope.any():
        lists: list[list] = [[] for _ in range(len(data))]
        for row in data.spans.to_dict("records"):
            lists[row["example"]].append({**{k: row[k] for k in PLACES["text"]}, "label": row["label"]})
        frame["spans"] = [json.dumps(x) if seen else None for x, seen in zip(lists, data.span_scope, strict=True)]
    partial = path.with_name(path.name + ".partial")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(partial, compression="zstd", index=False)
        os.replace(partial, path)
    return path
