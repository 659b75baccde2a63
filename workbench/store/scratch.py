"""Folders in which a process gathers what it fetches, and what a killed one has left of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.paths import LOCK, inside, inside_or_none, listed, remove_tree
from workbench.processes import drop_lock, held, hold

PREFIX = "fetched-"


@contextmanager
def scratch(study: Path) -> Iterator[Path]:
    """A new folder in the cache of a study's folder, gone when the block ends; what killed processes have left goes as well."""
    cache = inside(study, "cache")
    cache.mkdir(parents=True, exist_ok=True)
    drop_rests(study)
    folder = cache / f"{PREFIX}{uuid.uuid4().hex}"
    # The lock comes before the folder and goes after it: a folder that nobody holds is of a process that has ended.
    with hold(_lock(folder), f"The folder {folder}"):
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder, ignore_errors=True)


def rests(study: Path) -> list[Path]:
    """The folders of processes that were killed while they fetched; none where the cache is no folder."""
    if inside_or_none(study, "cache") is None:
        return []
    return [folder for folder in listed(study, "cache") if folder.name.startswith(PREFIX) and not held(_lock(folder))]


def drop_rests(study: Path) -> None:
    """Remove those folders, and their locks; one who was killed at the right moment leaves a lock alone."""
    for folder in rests(study):
        remove_tree(folder, ignore_errors=True)
    cache = inside_or_none(study, "cache")
    for lock in cache.glob(f"{PREFIX}*{LOCK}") if cache is not None else ():
        drop_lock(lock)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{LOCK}")
