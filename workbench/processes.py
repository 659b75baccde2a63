"""Identifying processes, and locks that a killed process releases. Process ids are reused, so the start time is recorded as
well."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Any

import psutil
from pydantic import Field
from typing_extensions import TypedDict

from workbench.errors import StudyError
from workbench.paths import is_file, odd
from workbench.shapes import ShapeError, shaped

SECONDS_TO_LOOK_AGAIN = 0.2
_LOCK_BYTES = 2**16


class Identity(TypedDict):
    """What identifies a process: host, process id and start time."""

    host: str
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    created: float


def shareable(provenance: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a run without the host name and process id, for files that are shared."""
    return {key: value for key, value in provenance.items() if key != "process"}


def identity(pid: int | None = None) -> dict[str, Any]:
    """``host, pid, created`` of a process, of this one when none is given.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    process = psutil.Process(pid)
    return {"host": platform.node(), "pid": process.pid, "created": process.create_time()}


def find_process(known: dict[str, Any]) -> psutil.Process | None:
    """The process of an :func:`identity` while it lives on this machine, or None."""
    if known.get("host") != platform.node():
        return None
    try:
        process = psutil.Process(int(known["pid"]))
        # A zombie has ended, and only waits for its parent to read its exit status.
        if abs(process.create_time() - known["created"]) > 1 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        # An invalid record identifies no process.
        return None
    return process


def has_ended(known: dict[str, Any]) -> bool:
    """Whether the process is known to have ended; on another machine that cannot be told, so it has not."""
    return known.get("host") == platform.node() and find_process(known) is None


@contextmanager
def hold(path: Path, what: str, patient: bool = False) -> Iterator[None]:
    """Hold a lock file until the block ends, however it ends; a killed process holds nothing any more.

    Args:
        path: The lock file. It names the process that holds it, and is removed with the lock.
        what: What is written meanwhile, for the error.
        patient: Wait until nobody else holds it.

    Raises:
        StudyError: Another process, or another thread of this one, holds it.
    """
    file = _take(path, what, patient)
    try:
        file.truncate(0)
        file.write(json.dumps(identity()))
        file.flush()
        yield
    finally:
        # Removed while still locked, so that nobody can have taken it in between.
        path.unlink(missing_ok=True)
        file.close()


@contextmanager
def holding(file: IO[str]) -> Iterator[None]:
    """Hold a file that this process has made and has open, so that :func:`held` says so, where there are locks."""
    _lock(file)
    yield


@contextmanager
def taken(path: Path) -> Iterator[bool | None]:
    """Lock a file or a folder itself until the block ends; a process that is killed holds it no more.

    Yields:
        Whether it is locked now: not where somebody else holds it or it is not there any more, and None where this system, or
        this file system, has no such locks.
    """
    number: int | None = None
    there = True
    # Without locks nothing is opened: where there are none, what is open may not be renamed either.
    if find_spec("fcntl") is not None:
        try:
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            there = False
        except OSError:
            pass
    try:
        yield (None if there else False) if number is None else _locked_in_place(number, path)
    finally:
        if number is not None:
            os.close(number)


def _locked_in_place(number: int, path: Path) -> bool | None:
    """Lock what is open under a number, and see that it still lies at its path."""
    locked = _lock_number(number)
    try:
        return locked and os.path.samestat(os.fstat(number), os.lstat(path))
    except FileNotFoundError:
        return False


def drop_lock(path: Path) -> None:
    """Remove a lock file of a process that was killed; one that somebody holds stays."""
    if is_file(path) and not held(path):
        # Taken first: whoever takes it at this moment keeps it.
        with suppress(StudyError, OSError), hold(path, path.name):
            pass


def held(path: Path) -> bool:
    """Whether somebody holds a lock file now."""
    if not is_file(path):
        return False
    try:
        file = _opened(path)
    except PermissionError:
        # The study is read-only, so the process named in the file decides.
        file = path.open(encoding="utf-8")
    with file:
        return not _lock(file)


def _take(path: Path, what: str, patient: bool) -> IO[str]:
    while True:
        file = _opened(path)
        if not _lock(file):
            holder = _holder(file)
            file.close()
            if patient:
                time.sleep(SECONDS_TO_LOOK_AGAIN)
                continue
            who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
            raise StudyError(f"{what} is being written by {who}: wait until that is done, or stop it.")
        # The previous holder may have removed the file between our opening and locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _opened(path: Path) -> IO[str]:
    """A lock file, made where there is none; a link or a pipe in its place is not opened."""
    if (problem := odd(path)) is not None:
        raise StudyError(f"{path} is {problem}, where a lock belongs: remove it.")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8")


def _lock(file: IO[str]) -> bool:
    """Lock an open file, and say whether that went well."""
    if (locked := _lock_number(file.fileno())) is not None:
        return locked
    # No locks here, so the process named in the file decides.
    holder = _holder(file)
    return not holder or has_ended(holder)


def _lock_number(number: int) -> bool | None:
    """Lock what is open under a number; None where this system, or this file system, has no locks."""
    try:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    with suppress(ShapeError):
        return dict(shaped(file.read(_LOCK_BYTES), Identity))
    return {}
