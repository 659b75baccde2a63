"""Checksums of the files of an activation set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from workbench.activations.manifest import INDEX, MANIFEST, Manifest, Stored, left_out, parse_manifest, wrong_length
from workbench.errors import DataError, StudyError
from workbench.parquet import read_table
from workbench.paths import PARTIAL, child, is_id, named, odd, oddities

# Path, length and modification time of every file that was verified in this process.
_SOUND: set[tuple[str, int, int]] = set()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    if (problem := odd(path)) is not None:
        raise StudyError(f"{path} is {problem}: it is left as it is.")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_sound(path: Path, manifest: Manifest) -> None:
    """Verify a file of a set once in this process. Sets from before there were checksums are not verified.

    Raises:
        StudyError: Its content is not what was captured.
    """
    stored = manifest.files.get(path.name)
    if stored is None:
        return
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns)
    if key in _SOUND:
        return
    if not _holds(path, stored):
        raise StudyError(
            f"{path} is damaged: its checksum is not that of what was captured. Run `workbench study repair` on the study"
            " and capture again."
        )
    _SOUND.add(key)


def damage(folder: Path, read: Callable[[int], None] = lambda _bytes: None) -> Iterator[tuple[str, str]]:
    """Every file of a set that is damaged, with what is wrong with it. Reads every byte of the set.

    Args:
        folder: Of the set.
        read: Called with the bytes of each file that was looked at.
    """
    try:
        manifest = parse_manifest(folder)
    except StudyError as error:
        yield MANIFEST, str(error)
        return
    if is_id("activations", folder.name) and manifest.request.id != folder.name.removesuffix(PARTIAL):
        yield MANIFEST, "It is of another set than its folder is called after."
        return
    if strange := [(named(path, folder), f"It is {problem}.") for path, problem in oddities(folder)]:
        yield from strange
        return
    if left_out(folder):
        return
    for name, length in manifest.lengths().items():
        if state := wrong_length(child(folder, name), length):
            yield name, f"It is {state}."
        elif name in manifest.files and not _holds(child(folder, name), manifest.files[name]):
            yield name, "Its checksum is not that of what was captured."
        elif name == INDEX and (rows := _index_rows(child(folder, name))) != manifest.n_rows:
            yield name, f"It has {rows} rows instead of {manifest.n_rows}." if rows >= 0 else "It cannot be read."
        # Old manifests do not hold the length of the index.
        read(length or 0)


def _holds(path: Path, stored: Stored) -> bool:
    return path.stat().st_size == stored.bytes and sha256_of(path) == stored.sha256


def _index_rows(path: Path) -> int:
    try:
        return len(read_table(path))
    except DataError:
        return -1
