"""Temporary folders for what a process fetches, and cleaning up those that killed processes left."""

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
    """A context with a new folder in the study's cache, removed at the end, together with folders that killed processes left."""
    cache = inside(study, "cache")
    cache.mkdir(parents=True, exist_ok=True)
    drop_leftovers(study)
    folder = cache / f"{PREFIX}{uuid.uuid4().hex}"
    # The lock is made before the folder and removed after it, so a folder without a held lock belongs to an ended process.
    with hold(_lock(folder), f"The folder {folder}"):
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder, ignore_errors=True)


def leftovers(study: Path) -> list[Path]:
    """The folders of processes that were killed while they fetched; none where the cache is no folder."""
    if inside_or_none(study, "cache") is None:
        return []
    return [folder for folder in listed(study, "cache") if folder.name.startswith(PREFIX) and not held(_lock(folder))]


def drop_leftovers(study: Path) -> None:
    """Remove those folders and their locks. A process can also be killed when only its lock is left."""
    for folder in leftovers(study):
        remove_tree(folder, ignore_errors=True)
    cache = inside_or_none(study, "cache")
    for lock in cache.glob(f"{PREFIX}*{LOCK}") if cache is not None else ():
        drop_lock(lock)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{LOCK}")
