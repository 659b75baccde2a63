"""Which studies a user has made, or opened and trusted: one small file each, in the folder of the user's settings.

A study is identified by its path, the inode of its folder and the id in its ``study.json``; and, once they no longer change, by
the inodes of ``study.json`` and ``catalog.db`` and the ctime of the first, which users cannot set. So another study that is put
in its place, file by file, is not trusted. The record also holds the places that the study names, such as a database and a
bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from workbench.errors import StudyError
from workbench.shapes import read_shaped
from workbench.store.members import CATALOG, STUDY_FILE
from workbench.writing import write_beside


class _Kept(BaseModel):
    places: list[str]
    files: dict[str, list[int]] = {}


# Studies that this process has made or opened, if nothing can be written for the next one.
_HERE: dict[str, _Kept] = {}
_OWNER_ONLY = 0o700
# The files whose inodes identify a study. SQLite never replaces the file of a catalog.
_STILL_S = 60.0
"""Seconds without a change of ``study.json`` before it counts: several processes may be making the study."""


def trusted(folder: Path, identifier: str) -> frozenset[str] | None:
    """The places that this user trusts a study to name; None when they never opened it.

    Args:
        folder: The study's folder, resolved.
        identifier: The id in its ``study.json``; empty for a study from before there were ids.
    """
    known = [record for record in _records(folder, identifier) if _matches(folder, record)]
    return frozenset().union(*(record.places for record in known)) if known else None


def remember(folder: Path, identifier: str, places: Iterable[str], changing: bool = False) -> None:
    """Record that this user made a study, or trusts it with the places that it names, in addition to those known before.

    Args:
        folder: The study's folder, resolved.
        identifier: The id in its ``study.json``.
        places: What it names.
        changing: The caller is about to change its ``study.json``.
    """
    key = _key(folder, identifier)
    known = frozenset(places) | (trusted(folder, identifier) or frozenset())
    record = _Kept(places=sorted(known), files={} if changing else _numbers(folder))
    _HERE[key] = record
    content = json.dumps({"study": str(folder), **record.model_dump()}, indent=1)
    for home in _homes():
        # If the record cannot be written, the user is asked again the next time.
        with suppress(OSError):
            write_beside(home / f"{key}.json", content)
            return


def settled(folder: Path, identifier: str) -> bool:
    """Whether the record of a known study is complete."""
    numbers = _numbers(folder)
    return any(record.files == numbers for record in _records(folder, identifier))


def _records(folder: Path, identifier: str) -> Iterator[_Kept]:
    key = _key(folder, identifier)
    if key in _HERE:
        yield _HERE[key]
    for home in _homes():
        with suppress(StudyError):
            yield read_shaped(home / f"{key}.json", _Kept)


def _matches(folder: Path, record: _Kept) -> bool:
    """Whether the files of a study are those of its record, as far as they were recorded."""
    there = _numbers(folder, still=False)
    return all(there.get(name) == number for name, number in record.files.items())


def _numbers(folder: Path, still: bool = True) -> dict[str, list[int]]:
    """Inodes and ctimes that identify a study; with ``still``, without a file that was changed just now."""
    found = {}
    with suppress(OSError):
        state = (folder / CATALOG).lstat()
        # The catalog changes all the time, but stays the same file.
        found[CATALOG] = [state.st_dev, state.st_ino]
    with suppress(OSError):
        state = (folder / STUDY_FILE).lstat()
        if not still or time.time() - state.st_ctime >= _STILL_S:
            found[STUDY_FILE] = [state.st_dev, state.st_ino, state.st_ctime_ns]
    return found


def _key(folder: Path, identifier: str) -> str:
    number = folder.stat().st_ino if folder.exists() else 0
    return hashlib.sha256(json.dumps([os.fsdecode(folder), number, identifier]).encode()).hexdigest()[:32]


def _homes() -> Iterator[Path]:
    """Where records are kept, the usual place first; a user without a home has a folder of their own among temporary files."""
    with suppress(RuntimeError):
        settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        yield Path(settings) / "concept-workbench" / "trusted"
    if not hasattr(os, "getuid"):
        return
    place = Path(tempfile.gettempdir()) / f"concept-workbench-{os.getuid()}"
    with suppress(OSError):
        place.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        state = os.lstat(place)
        # Another user may have made a folder of that name.
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077:
            yield place / "trusted"
