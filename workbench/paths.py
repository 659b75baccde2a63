"""Paths inside a study. Ids from catalogs, manifests, remotes and users become paths only here, after a check."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import StudyError

PARTIAL = ".partial"
"""Suffix of the folder of a run or set that is not complete yet."""
LOCK = ".lock"
_RUN, _SET, _PART = "[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", "[0-9a-f]{16}", "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
KINDS: dict[str, re.Pattern[str]] = {
    "runs": re.compile(rf"{_RUN}(\.partial)?"),
    "activations": re.compile(rf"{_SET}(\.partial|\.lock)?"),
    "datasets": re.compile(r"[0-9a-f]{1,64}\.(parquet|json)"),
    "jobs": re.compile(_RUN),
    "cache": re.compile(_PART),
}
"""The folders of a study, and what the names in each of them look like."""
_REST = re.compile(rf"\.[0-9a-f]{{24}}{re.escape(PARTIAL)}")
_HOLLOW_BYTES = 2**28
DEEPEST = 32
"""How many folders may lie in each other below one of a study: what the workbench writes has less than half as many."""
_LONGEST_BYTES = 2000
_NO_FOLDER, _TOO_DEEP = "a file, where a folder belongs", "a folder deeper than any of a study"
_PART_PATTERN = re.compile(_PART)
_NEVER = r"/\\:\x00-\x1f\x7f\ud800-\udfff"
FILE_NAME = rf"[^.{_NEVER}][^{_NEVER}]{{0,199}}"
"""A name of a table, a figure or a file of a run: any text that is one name on every system, and no hidden file."""
_NAME = re.compile(FILE_NAME)


def is_id(kind: str, identifier: object) -> bool:
    """Whether a text is a name that the workbench gives to something of a kind, such as the id of a run."""
    return isinstance(identifier, str) and KINDS[kind].fullmatch(identifier) is not None


def is_name(name: str) -> bool:
    """Whether a text is a single file name that cannot lead to another folder."""
    return _NAME.fullmatch(name) is not None


def is_leftover(name: str) -> bool:
    """Whether a file or a folder is called as one that :mod:`workbench.writing` fills before it gets its name."""
    return _REST.fullmatch(name) is not None


def inside(study: Path, kind: str, *parts: str) -> Path:
    """The path of a folder of a study, or of something in it.

    Args:
        study: The study's folder.
        kind: One of :data:`KINDS`.
        parts: The id, and below it further names; the folder of the kind itself without any.

    Returns:
        A path that lies in the study, whether or not there is something.

    Raises:
        StudyError: The id is none that the workbench gives, there is a symbolic link, a pipe or a device in its place, or a file
            in that of a folder above it.
    """
    if parts and not is_id(kind, parts[0]):
        raise StudyError(f"{shown(parts[0])} is no name of anything in {kind}/ of {study}: `workbench study verify` says more.")
    for part in parts[1:]:
        if not _PART_PATTERN.fullmatch(part):
            raise StudyError(f"{shown(part)} is no name of a file of {kind}/{parts[0]} in {study}.")
    path = study / kind
    problem = no_folder(path)
    for part in parts:
        if problem is not None:
            break
        path = path / part
        problem = no_folder(path) if part is not parts[-1] else odd(path)
    if problem is not None:
        raise StudyError(f"{path} is {problem}: it is not followed. Remove it, or put what belongs there in its place.")
    return path


def inside_or_none(study: Path, kind: str, *parts: str) -> Path | None:
    """The path that :func:`inside` gives, or None where something else is in the place of it or of a folder above it."""
    try:
        return inside(study, kind, *parts)
    except StudyError:
        return None


def child(folder: Path, name: str) -> Path:
    """The path of a file below a folder, by a name that comes from elsewhere, with ``/`` between it and its folders.

    Raises:
        StudyError: The name would lead elsewhere, or a link or a pipe is in the place.
    """
    path = folder
    for part in name.split("/"):
        if not _NAME.fullmatch(part):
            raise StudyError(f"{shown(name)} is no name of a file: it is not read or written.")
        path = path / part
        if (problem := odd(path)) is not None:
            raise StudyError(f"{path} is {problem}: it is not followed. Remove it, or put what belongs there in its place.")
    return path


def listed(study: Path, kind: str, partial: bool = True) -> list[Path]:
    """The folders of a kind that a study has, by their names: those that are called as the workbench calls them, and no links."""
    home = inside(study, kind)
    if not home.is_dir():
        return []
    found = [Path(entry.path) for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False) and is_id(kind, entry.name)]
    return sorted(path for path in found if path.suffix != LOCK and (partial or path.suffix != PARTIAL))


def strange(study: Path, kind: str) -> Iterator[tuple[Path, str]]:
    """What else lies in the folder of a kind, each with what is wrong with it: links, pipes, names that are none of ours, files
    in the place of folders and folders in that of files."""
    home = study / kind
    if (problem := no_folder(home)) is not None:
        yield home, problem
        return
    for entry in sorted(os.scandir(home), key=lambda one: one.name) if home.is_dir() else []:
        path = Path(entry.path)
        if (problem := odd(path)) is not None:
            yield path, problem
        elif is_leftover(entry.name):
            # It may be being written; `workbench.writing` decides.
            continue
        elif entry.is_dir(follow_symlinks=False):
            if not is_id(kind, entry.name):
                yield path, "called as the workbench calls nothing"
            elif kind == "datasets" or path.suffix == LOCK:
                yield path, "a folder, where a file belongs"
            elif kind in {"jobs", "cache"}:
                # The content of runs and sets is checked elsewhere.
                yield from oddities(path)
        elif kind in {"runs", "activations", "jobs"} and is_id(kind, entry.name) and path.suffix != LOCK:
            yield path, _NO_FOLDER


def drop_strange(study: Path, name: str) -> str:
    """Remove a link, a pipe or a device among the parts of a study, and not what it leads to, or a folder that lies too deep.

    Args:
        study: The study's folder.
        name: As :func:`named` says it: looked for in what is there, and never joined.

    Returns:
        What it was and what was done, in a sentence; empty where nothing was.
    """
    for path, found in [one for kind in KINDS for one in strange(study, kind)]:
        if named(path, study) != name:
            continue
        if (problem := odd(path)) is not None:
            sentence = f"It was {problem}{_led_to(path)}, and was removed; what it led to, if anything, was left alone."
            path.unlink()
            return sentence
        if found == _TOO_DEEP:
            remove_tree(path)
            return f"It was {found}, and was removed with all that was in it."
    return ""


def home_problem(study: Path, kind: str) -> str:
    """What is wrong with the folder of a kind itself, as part of a sentence: ``missing`` is one; empty where it is a folder."""
    home = study / kind
    if (problem := no_folder(home)) is not None:
        return f"{problem}{_led_to(home)}"
    return "" if home.is_dir() else "missing"


def _led_to(path: Path) -> str:
    """Where a link leads, as part of a sentence; empty for anything else."""
    return f" to {shown(os.readlink(path), 200)}" if path.is_symlink() else ""


def no_folder(path: Path) -> str | None:
    """What is in the place of a folder that is none, or None; nothing there is a folder that is still to be made."""
    return odd(path) or (_NO_FOLDER if is_file(path) else None)


def odd(path: Path) -> str | None:
    """What is in the place of a file or a folder that is neither, or None; nothing is opened or followed."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StudyError(f"{shown(str(path))} cannot be looked at: {error}.") from error
    if stat.S_ISLNK(state.st_mode):
        return "a symbolic link"
    if stat.S_ISREG(state.st_mode):
        # Reading it might never end, and the workbench writes no such file.
        hollow = state.st_size > _HOLLOW_BYTES and getattr(state, "st_blocks", state.st_size) * 512 * 1000 < state.st_size
        return "a file that is long and holds next to nothing" if hollow else None
    return None if stat.S_ISDIR(state.st_mode) else "neither a file nor a folder"


def is_file(path: Path) -> bool:
    """Whether a path is a regular file itself, and nothing odd."""
    try:
        return odd(path) is None and stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError, StudyError):
        return False


def named(path: Path, folder: Path) -> str:
    """What is called as a path from a folder, with ``/`` between its parts: text, whatever bytes are in the names.

    Bytes that are no UTF-8, which Python has as halves of characters, are written as ``\\udcff``.
    """
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()


def walk(folder: Path, bounded: bool = True) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A folder and all folders below it, from the top down: each with the names of the folders in it and of all else, sorted.

    As ``os.walk``, but for trees of any depth: in Python 3.11 that one calls itself for every folder. Links are not followed, and
    folders that are taken out of their list are not entered.

    Args:
        folder: Where to begin; nothing is there where it is no folder, or may not be read.
        bounded: Enter no folder that :func:`too_deep` finds, as in what comes from elsewhere.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        except OSError:
            # It was removed in the meantime, or this user may not read it.
            continue
        folders.sort()
        names.sort()
        yield path, folders, names
        inner = [path / name for name in reversed(folders)]
        waiting += [one for one in inner if not (bounded and _is_too_deep(one, folder))]


def _is_too_deep(path: Path, folder: Path) -> bool:
    inner = path.relative_to(folder)
    # Paths below it would be too long for the system.
    return len(inner.parts) > DEEPEST or len(os.fsencode(inner)) > _LONGEST_BYTES


def too_deep(folder: Path) -> Iterator[Path]:
    """The folders below a folder that :func:`walk` does not enter, since nothing of a study is as deep."""
    for root, folders, _ in walk(folder):
        yield from (path for name in folders if _is_too_deep(path := root / name, folder))


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder, in the order of :func:`walk`; links are left out and not followed."""
    for root, _, names in walk(folder):
        yield from (path for name in names if is_file(path := root / name))


def oddities(folder: Path) -> Iterator[tuple[Path, str]]:
    """Everything below a folder that is neither file nor folder, or a folder that lies too deep, each with what it is."""
    for root, folders, names in walk(folder):
        for path in [root / name for name in sorted([*folders, *names])]:
            if (problem := odd(path)) is not None:
                yield path, problem
            elif path.name in folders and _is_too_deep(path, folder):
                yield path, _TOO_DEEP


def remove_tree(folder: Path, ignore_errors: bool = False) -> None:
    """Remove a folder with all in it, however deep it is. Links are removed, and not followed.

    Raises:
        OSError: It is no folder, or something in it cannot be removed; with ``ignore_errors``, as much goes as can.
    """
    try:
        # Other systems lack directory file descriptors, and their paths are too short for such deep trees.
        if hasattr(os, "fwalk"):
            _flatten(folder)
    except OSError:
        if not ignore_errors:
            raise
    shutil.rmtree(folder, ignore_errors=ignore_errors)


def _flatten(folder: Path) -> None:
    """Move what lies too deep in a tree up to its top, again and again, since ``shutil.rmtree`` calls itself for every folder.

    Folders go by their numbers, since paths may be too long for the system, and parts of them may become links meanwhile.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        waiting = ["."]
        while waiting:
            for root, folders, _, number in os.fwalk(waiting.pop(), dir_fd=top):
                if root.count("/") >= DEEPEST:
                    for name in folders:
                        waiting.append(secrets.token_hex(12))
                        os.rename(name, waiting[-1], src_dir_fd=number, dst_dir_fd=top)
                    folders.clear()
    finally:
        os.close(top)


def require_plain(folder: Path) -> None:
    """See that a folder and all below it are files and folders.

    Raises:
        StudyError: There is a link, a pipe, a device or a folder that lies too deep; it is named.
    """
    if (problem := odd(folder)) is not None:
        raise StudyError(f"{folder} is {problem}: it is not followed. `workbench study repair` drops it.")
    for path, problem in oddities(folder):
        what = f"{shown(named(path, folder))}, which is {problem}"
        raise StudyError(f"{folder} holds {what}: it is not read. `workbench study repair` drops it.")


def require_utf_8(path: Path) -> Path:
    """The path, of which the libraries that write files need every character.

    Raises:
        StudyError: Python was told to take paths to be in an encoding that lacks some, such as ASCII.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise StudyError(
            f"{shown(str(path))} has characters that this process cannot read, since it takes paths to be in"
            f" {sys.getfilesystemencoding()}: set PYTHONUTF8=1, or choose another folder."
        ) from error
    return path


def read_bytes(path: Path, most: int = 2**26) -> bytes:
    """The content of a small file, whatever lies at its path: a pipe does not block, and a link is not followed.

    Raises:
        StudyError: It is no regular file, or longer than ``most`` bytes.
        OSError: It is not there, or may not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if (problem := "a folder" if path.is_dir() and not path.is_symlink() else odd(path)) is not None:
        raise StudyError(f"{path} is {problem}: it is not read.")
    with os.fdopen(os.open(path, flags), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise StudyError(f"{path} is no file: it is not read.")
        if state.st_size > most:
            raise StudyError(
                f"{path} has {state.st_size:,} bytes, and nothing of its kind has more than {most:,}: it is not read."
            )
        return file.read(most + 1)


def shown(name: str, most: int = 80) -> str:
    """A name from elsewhere in an error: visible characters, and no more of them than ``most``."""
    return f"'{printable(name, most)}'"


def printable(text: str, most: int = 300) -> str:
    """A text from elsewhere as one line of visible characters, and no more of them than ``most``."""
    seen = "".join(c if c.isprintable() else "·" for c in text[: most + 1])
    return seen if len(seen) <= most else f"{seen[: most - 1]}…"
