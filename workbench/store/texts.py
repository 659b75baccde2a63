"""Data sets stored with a study: the whole table, for each choice of labels, groups and splits that was used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from workbench.activations.manifest import parse_manifest, set_folders
from workbench.activations.store import ActivationSet
from workbench.errors import StudyError, WorkbenchError
from workbench.paths import inside, inside_or_none, is_file, is_id, is_name
from workbench.shapes import read_shaped
from workbench.writing import write_beside

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.store.stored_study import StoredStudy


class About(BaseModel):
    """The description stored beside the table of a data set."""

    name: str
    labels: list[str] = []
    hash: str = ""


def keep_texts(folder: Path, dataset: Dataset) -> Dataset | None:
    """Store the table of a data set, with its texts but without its images.

    Bundled data sets load again from their name, unless their labels were changed. Columns that are only kept are no part of the
    hash: a copy that lacks some is written again, with the columns of both; so is one with other words for missing values.

    Returns:
        What was written now, or None where nothing had to be.
    """
    from workbench.datasets.bundled import BUNDLED
    from workbench.datasets.save import read_saved_table, write_table

    path = copy_path(folder, dataset.hash)
    source = str(dataset.source.get("name_or_path", ""))
    if source in BUNDLED and not dataset.earlier and not path.exists():
        return None
    if dataset.modality == "image" and source.startswith("memory:"):
        return None
    described, whole = path.with_suffix(".json"), False
    if path.exists():
        saved = read_saved_table(path)
        there = saved.table if saved is not None else dataset.table[["split", "group"]]
        same_words = saved is None or saved.missing == dataset.missing_words
        whole = same_words and set(dataset.table.columns) - {"image"} <= set(there.columns)
        if whole and described.exists():
            return None
        more = {str(name): there[name] for name in there.columns if name not in dataset.table.columns}
        dataset = replace(dataset, table=dataset.table.assign(**more))
    if not whole:
        write_table(dataset, path)
    # Written last: a copy is complete when this file exists.
    about = {"name": dataset.name, "labels": [label.name for label in dataset.example_labels], "hash": dataset.hash}
    write_beside(described, json.dumps(about))
    return dataset


def known_examples(study: StoredStudy, dataset: Dataset) -> Dataset:
    """The data set with the hashes by which activation sets of format 1 know the same examples under other labels."""
    found: list[str] = []
    for folder in set_folders(study.folder):
        with suppress(WorkbenchError):
            request = parse_manifest(folder).request
            if request.format > 1 or request.dataset != dataset.name or request.dataset_hash in {dataset.hash, *dataset.earlier}:
                continue
            old = study.dataset_of(ActivationSet.open(folder))
            if old.content_hash == dataset.content_hash:
                found += [*old.earlier, old.hash]
    return dataset.with_earlier([*dataset.earlier, *found]) if found else dataset


def load_again(folder: Path, record: dict[str, Any]) -> Dataset:
    """The data set of a study, from its copy or from where it came.

    Args:
        folder: Of the study.
        record: ``name``, ``hash`` (of the examples with their labels, groups and splits) and ``source``.

    Raises:
        StudyError: It has changed since.
    """
    from workbench.datasets import load_dataset
    from workbench.datasets.load import load_as_before

    path = copy_path(folder, record["hash"])
    dataset = _copied(path, record) if path.exists() else load_dataset(**record["source"])
    if dataset.hash != record["hash"] and not path.exists() and not _bundled(record["source"]):
        # Captured under earlier rules for splits and missing values: identified by the hash of that time.
        dataset = load_as_before(record["source"])
    if dataset.hash != record["hash"]:
        raise StudyError(
            f"The data set '{record['name']}' has changed since its activations were captured. Restore it, or capture"
            " again: study.capture(model, dataset, …)."
        )
    return dataset


def check_copy(folder: Path, record: dict[str, Any]) -> None:
    """Check that a stored table can be read and is unchanged. Images are stored elsewhere and not checked.

    Raises:
        WorkbenchError: It cannot, or is not.
    """
    from workbench.datasets.save import read_saved_table

    saved = read_saved_table(copy_path(folder, record["hash"]))
    if saved is None or saved.about["modality"] == "text":
        load_again(folder, record)


def _bundled(source: dict[str, Any]) -> bool:
    from workbench.datasets.bundled import BUNDLED

    return str(source.get("name_or_path", "")) in BUNDLED


def _copied(path: Path, record: dict[str, Any]) -> Dataset:
    """The data set of a stored table; images are loaded from their source."""
    from workbench.datasets import load_dataset
    from workbench.datasets.build import finish
    from workbench.datasets.load import load_as_before
    from workbench.datasets.save import read_saved_table

    saved = read_saved_table(path)
    if saved is None:
        # Stored by a version that did not store whole tables.
        old = read_shaped(path.with_suffix(".json"), About)
        columns = {"text": "text", "split": "split", "group": "group"}
        return load_as_before({"name_or_path": str(path), **columns, "name": old.name, "labels": old.labels})
    table, about = saved.table, saved.about
    if about["modality"] == "image":
        images = load_dataset(**about["source"]).table["image"]
        if len(images) != len(table):
            raise StudyError(f"The images of '{record['name']}' are {len(images):,} by now, not {len(table):,}: restore them.")
        table.insert(0, "image", images.reset_index(drop=True))
    found = finish(
        about["name"], about["modality"], table, saved.spans, saved.span_scope, saved.labels, about["source"], about["notes"],
        saved.missing, saved.given,
    )  # fmt: skip
    return found.with_earlier(about["earlier"])


def kept_records(folder: Path) -> Iterator[dict[str, Any]]:
    """How to load the data sets of a study again: those that were captured, and those whose labels were changed.

    A link or file in place of the folder counts as empty.
    """
    for home in set_folders(folder) if inside_or_none(folder, "activations") else []:
        with suppress(StudyError):
            yield parse_manifest(home).dataset_record
    for path in _about_files(folder):
        with suppress(StudyError):
            about = read_shaped(path, About)
            if is_id("datasets", f"{about.hash}.json"):
                yield {"name": about.name, "hash": about.hash, "source": {}}


def unread_records(folder: Path) -> Iterator[tuple[str, str]]:
    """The descriptions of data sets that cannot be read: name and problem."""
    for path in _about_files(folder):
        try:
            read_shaped(path, About)
        except StudyError as error:
            yield path.name, str(error)


def _about_files(folder: Path) -> list[Path]:
    kept = inside_or_none(folder, "datasets")
    return sorted(path for path in kept.glob("*.json") if is_name(path.name) and is_file(path)) if kept else []


def copy_path(folder: Path, digest: str) -> Path:
    """The path of a study's copy of a data set. `StudyError` when the hash is invalid or the path is no regular file."""
    inside(folder, "datasets", f"{digest[:16]}.json")
    return inside(folder, "datasets", f"{digest[:16]}.parquet")
