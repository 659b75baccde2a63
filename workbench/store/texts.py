"""Data sets as a study keeps them: named by how to load them again, or copied where nothing else has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import StudyError

if TYPE_CHECKING:
    from workbench.datasets import Dataset


def keep_texts(folder: Path, dataset: Dataset) -> None:
    """Keep a copy of texts that were built in Python, so that the study can be opened without them."""
    source = str(dataset.source.get("name_or_path", ""))
    path = copy_path(folder, dataset.hash)
    if dataset.modality != "text" or not source.startswith("memory:") or path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    about: dict[str, Any] = {
        "labels": [label.name for label in dataset.labels if label.level == "example"],
        "name": dataset.name,
    }
    if dataset.span_scope.any():
        about["spans"] = "spans"
    path.with_suffix(".json").write_text(json.dumps(about))
    dataset.save(path)


def load_again(folder: Path, record: dict[str, Any]) -> Dataset:
    """The data set of a study, from its copy or from where it came.

    Raises:
        StudyError: It has changed since.
    """
    from workbench.datasets import load_dataset

    path = copy_path(folder, record["hash"])
    if path.exists():
        about = json.loads(path.with_suffix(".json").read_text())
        dataset = load_dataset(path, text="text", split="split", group="group", **about)
    else:
        dataset = load_dataset(**record["source"])
    if dataset.hash != record["hash"]:
        raise StudyError(
            f"The data set '{record['name']}' has changed since its activations were captured. Restore it, or capture"
            " again: study.capture(model, dataset, …)."
        )
    return dataset


def copy_path(folder: Path, digest: str) -> Path:
    """Where a study keeps its own copy of a data set of a hash."""
    return folder / "datasets" / f"{digest[:16]}.parquet"
