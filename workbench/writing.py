"""Atomic writing of files and folders: they are written beside their place under a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import StudyError
from workbench.paths import PARTIAL, is_leftover, odd, remove_tree, walk
from workbench.processes import taken

_NO_PLACE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.EINVAL}
)


class NoPlaceError(StudyError, OSError):
    """A file or folder of that name cannot be created there."""


@contextmanager
def file_beside(target: Path) -> Iterator[Path]:
    """An empty file beside ``target`` to write into. It takes the target's place when the block ends well, and goes otherwise.

    Its folder is made where it is not there.
    """
    with placing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with new_beside(target) as partial:
        yield partial
        with placing(target):
            os.replace(partial, target)


def write_beside(target: Path, content: str | bytes) -> None:
    """Write a whole file; texts in UTF-8."""
    with file_beside(target) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new folder beside ``target``, which gets its name when the block ends well, and goes otherwise.

    ``target`` is not there, or an empty folder. The folder it is to lie in is made where it is not there.
    """
    with placing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with new_beside(target, folder=True) as partial:
        yield partial
        with placing(target):
            with suppress(FileNotFoundError):
                target.rmdir()
            os.replace(partial, target)


@contextmanager
def new_beside(target: Path, folder: bool = False) -> Iterator[Path]:
    """A new file or folder beside ``target``, which is gone when the block ends, unless it was renamed.

    It is locked while this process writes it; unlocked ones beside the target were left by killed processes and are removed.
    """
    # A folder may be writable but not readable.
    with suppress(OSError):
        for rest in _leftovers(target.parent, os.listdir(target.parent)):
            drop_leftover(rest)
    while True:
        partial = target.with_name(f".{secrets.token_hex(12)}{PARTIAL}")
        with placing(target):
            if folder:
                partial.mkdir()
            else:
                # Exclusively, so that an existing file is never opened, and with the default permissions.
                os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with taken(partial) as mine:
            # Another process may have removed it as a left-over before it was locked.
            if mine is False:
                continue
            try:
                yield partial
            finally:
                _remove(partial)
            return


@contextmanager
def placing(target: Path) -> Iterator[None]:
    """Turn errors about a name that no file or folder can have into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise NoPlaceError(f"{target} cannot be written ({error.strerror}): choose another place or name.") from error


def leftovers_below(folder: Path) -> Iterator[Path]:
    """Temporary files and folders below a folder that killed processes left.

    Those that are still being written are not listed, nor is anything on a file system without locks.
    """
    for root, folders, names in walk(folder):
        yield from _leftovers(root, [*folders, *names])
        folders[:] = [name for name in folders if not is_leftover(name)]


def drop_leftover(path: Path) -> bool:
    """Remove what :func:`leftovers_below` found, unless it is being written. Returns whether it is gone."""
    if not is_leftover(path.name) or odd(path) is not None:
        return False
    with taken(path) as mine:
        if mine:
            # It may belong to another user.
            with suppress(OSError):
                _remove(path)
    return not path.exists()


def _leftovers(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    for path in sorted(folder / name for name in names if is_leftover(name)):
        if odd(path) is None:
            with taken(path) as is_left_over:
                pass
            if is_left_over:
                yield path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_writable(read_only: bool, what: str) -> None:
    """`StudyError` for a study that was opened for reading only."""
    if read_only:
        raise StudyError(
            f"Nothing was written into {what}: the study is open for reading only, since its folder may not be written. Copy it"
            " to a place of your own: `workbench unpack FOLDER NEW`."
        )
