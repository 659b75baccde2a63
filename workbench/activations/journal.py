"""The journal of a capture: which chunks of its partial folder are complete and flushed to the disk.

The journal is a file of lines. The first tells how the capture goes about its work. Each further line stands for one chunk of
examples and gives, for every file that the chunk was appended to, the length that the file has now and the SHA-256 of all that is
in it. A line is written after the files were flushed to the disk, so what a line says holds after a crash. A capture that goes on
checks the lines against the files, cuts off what no line speaks of, and appends the next chunk.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.activations.manifest import Stored
from workbench.paths import child, is_name, remove_tree
from workbench.shapes import shaped

if TYPE_CHECKING:
    from hashlib import _Hash

JOURNAL = "journal.jsonl"
FORMAT = 1
_BLOCK = 2**20


class Journal:
    """The journal of one partial folder. Opening it truncates the files to the last line that matches them.

    Args:
        folder: The partial folder; it is there.
        plan: JSON that determines the bytes of each chunk. A folder written with another plan is emptied.

    Attributes:
        chunks: What each chunk left: the length and checksum of every file that it was appended to.
    """

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self._path = folder / JOURNAL
        self._hashes: dict[str, _Hash] = {}
        self._lengths: dict[str, int] = {}
        header = json.dumps({"format": FORMAT, "plan": plan}, sort_keys=True)
        lines = _lines(self._path)
        known = lines[:1] == [header]
        self.chunks = _parsed(lines[1:]) if known else []
        del self.chunks[self._sound(folder) :]
        self._cut(folder)
        if known:
            os.truncate(self._path, sum(len(line.encode()) + 1 for line in lines[: len(self.chunks) + 1]))
        self._file = self._path.open("ab" if known else "wb")
        self._write([] if known else [header])

    def __len__(self) -> int:
        return len(self.chunks)

    def files(self) -> dict[str, Stored]:
        """Every file as the last chunk left it."""
        return {name: stored for chunk in self.chunks for name, stored in chunk.items()}

    def add(self, name: str, data: Any) -> None:
        """Record that bytes were appended to a file."""
        self._hashes.setdefault(name, hashlib.sha256()).update(data)
        self._lengths[name] = self._lengths.get(name, 0) + memoryview(data).nbytes

    def commit(self, names: list[str]) -> None:
        """Record a chunk that was appended to these files and flushed."""
        chunk = {name: Stored(bytes=self._lengths[name], sha256=self._hashes[name].hexdigest()) for name in names}
        self._write([json.dumps({name: [stored.bytes, stored.sha256] for name, stored in chunk.items()})])
        self.chunks.append(chunk)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, lines: list[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _sound(self, folder: Path) -> int:
        """How many chunks, from the first on, are intact."""
        sound = len(self.chunks)
        for name in self.files():
            marks = [(number, chunk[name]) for number, chunk in enumerate(self.chunks[:sound]) if name in chunk]
            sound = min(sound, _first_damaged(child(folder, name), marks, sound))
        return sound

    def _cut(self, folder: Path) -> None:
        """Truncate the files to the intact chunks, and continue from there."""
        kept = self.files()
        for path in folder.iterdir():
            if path.name in kept:
                os.truncate(path, kept[path.name].bytes)
            elif path.is_dir():
                remove_tree(path)
            elif path != self._path:
                path.unlink()
        for name, stored in kept.items():
            self._lengths[name] = stored.bytes
            # Only the files of the last chunk are appended to.
            if name in self.chunks[-1]:
                with child(folder, name).open("rb") as file:
                    self._hashes[name] = hashlib.sha256()
                    _read(file, stored.bytes, self._hashes[name])


def _lines(path: Path) -> list[str]:
    """The complete lines, without one that was cut short."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_bytes().decode().split("\n")[:-1]
    return []


def _parsed(lines: list[str]) -> list[dict[str, Stored]]:
    chunks = []
    with suppress(ValueError):
        for line in lines:
            marks = shaped(line, dict[str, tuple[int, str]])
            chunk = {name: Stored(bytes=length, sha256=sha256) for name, (length, sha256) in marks.items()}
            # The journal may be from elsewhere: names must not lead outside its folder.
            if not chunk or any(not is_name(name) for name in chunk):
                break
            chunks.append(chunk)
    return chunks


def _first_damaged(path: Path, marks: list[tuple[int, Stored]], none: int) -> int:
    """The number of the first chunk whose bytes are not in the file, or ``none``."""
    digest, place = hashlib.sha256(), 0
    if path.is_symlink() or not path.is_file():
        return marks[0][0] if marks else none
    with path.open("rb") as file:
        for number, stored in marks:
            if not _read(file, stored.bytes - place, digest) or digest.hexdigest() != stored.sha256:
                return number
            place = stored.bytes
    return none


def _read(file: Any, count: int, digest: _Hash) -> bool:
    """Feed the next ``count`` bytes to a digest. Returns whether the file has that many."""
    while count > 0:
        block = file.read(min(count, _BLOCK))
        if not block:
            return False
        digest.update(block)
        count -= len(block)
    return count == 0
