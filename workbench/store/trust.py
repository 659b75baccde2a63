"""Which studies a user has made, or opened and trusted: one small file each, in the folder of the user's settings.

A study is known by where it lies, by the number of its folder on the disk and by the id in its ``study.json``: one that is put in
the place of another is another. What was trusted with it is the places that it names, such as a database and a bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from workbench.errors import StudyError
from workbench.shapes import read_shaped
from workbench.writing import write_beside

# What this process has made or opened, where nothing can be kept for the next one.
_HERE: dict[str, frozenset[str]] = {}
_OWNER_ONLY = 0o700


def trusted(folder: Path, identifier: str) -> frozenset[str] | None:
    """The places that this user trusts a study to name; None when they never opened it.

    Args:
        folder: The study's folder, resolved.
        identifier: The id in its ``study.json``; empty for a study from before there were ids.
    """
    key = _key(folder, identifier)
    found = _HERE.get(key)
    for home in _homes():
        with suppress(StudyError):
            found = (found or frozenset()) | set(read_shaped(home / f"{key}.json", _Kept).places)
    return found


def remember(folder: Path, identifier: str, places: Iterable[str]) -> None:
    """Keep that this user made a study, or trusts it with the places that it names, besides those known before."""
    key = _key(folder, identifier)
    known = frozenset(places) | (trusted(folder, identifier) or frozenset())
    _HERE[key] = known
    content = json.dumps({"study": str(folder), "places": sorted(known)}, indent=1)
    for home in _homes():
        # A folder that cannot be written costs a question the next time, and nothing else.
        with suppress(OSError):
            write_beside(home / f"{key}.json", content)
            return


class _Kept(BaseModel):
    places: list[str]


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
        # Anybody may make a folder of that name there.
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077:
            yield place / "trusted"
