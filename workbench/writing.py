"""Files and folders that appear whole or not at all: written beside their place, under a name that nothing else has."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import StudyError
from workbench.paths import PARTIAL


@contextmanager
def file_beside(target: Path) -> Iterator[Path]:
    """An empty file beside ``target`` to write into. It takes the target's place when the block ends well, and goes otherwise.

    Its folder is made where it is not there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _new_name(target)
    # Exclusively: what somebody else has under that name is never opened. With the permissions that any new file gets.
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_beside(target: Path, content: str | bytes) -> None:
    """Write a whole file; texts in UTF-8."""
    with file_beside(target) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, which gets its name when the block ends well, and goes otherwise.

    ``target`` is not there, or an empty folder. The folder it is to lie in is made where it is not there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _new_name(target)
    partial.mkdir()
    try:
        yield partial
        with suppress(FileNotFoundError):
            target.rmdir()
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_writable(read_only: bool, what: str) -> None:
    """`StudyError` for a study that was opened for reading only."""
    if read_only:
        raise StudyError(
            f"Nothing was written into {what}: the study is open for reading only, since its folder may not be written. Copy it"
            " to a place of your own: `workbench unpack FOLDER NEW`."
        )


def _new_name(target: Path) -> Path:
    return target.with_name(f".{secrets.token_hex(12)}{PARTIAL}")
