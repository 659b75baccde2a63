"""Which labels, groups and splits a run reads, and when other labels make another run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.datasets.build import RESERVED
from workbench.datasets.relabel import with_labels
from workbench.frames import records
from workbench.store.runs import Run, repetitions

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.study import Study


def with_asked(dataset: Dataset, asked: list[str]) -> Dataset:
    """The data set, with every column of its table that is asked for as a label; a quantity that is asked for has classes."""
    known = [label.name for label in dataset.example_labels if label.kind == "class"]
    there = [*known, *map(str, dataset.table.columns)]
    columns = [name for name in dict.fromkeys(_column(item, there) for item in asked) if name not in known]
    more = [name for name in columns if name in dataset.table.columns and name not in RESERVED]
    return with_labels(dataset, more) if more else dataset


def _column(asked: str, columns: Sequence[str]) -> str:
    """The column that a label or a column names: the longest one of which "column=value" can be a label."""
    found = max((name for name in columns if asked == name or asked.startswith(f"{name}=")), key=len, default="")
    # The command line takes blanks off the ends of what it is given.
    return found or next((name for name in columns if name.strip() == asked.strip()), asked)


def splits_hash(dataset: Dataset) -> str:
    """A hash of the splits and groups."""
    table = dataset.table[["split", "group"]]
    return hashlib.sha256(json.dumps(table.to_numpy().tolist()).encode()).hexdigest()[:16]


def same_splits(study: Study, run_id: str, key: dict[str, Any], inputs: dict[str, Any]) -> Run | None:
    """A finished run of an analysis that reads no labels, made when the same examples had other labels and the same splits."""
    if study.catalog.run(run_id) is not None:
        return None
    wanted = {name: value for name, value in inputs.items() if name not in {"dataset", "dataset_hash"}}
    frame = study.runs()
    for row in records(frame[frame["analysis"].eq(key["analysis"]) & ~repetitions(frame)][::-1]):
        same = row["provenance"].get("version") == key["version"] and row["seed"] == key["seed"]
        if same and row["config"] == key["config"] and all(row["inputs"].get(n) == v for n, v in wanted.items()):
            return Run(study, row)
    return None
