"""Paths inside a study. Ids come from catalogs, manifests, remotes and other people: here alone they become paths."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import StudyError

PARTIAL = ".partial"
"""What the folder of a run or a set ends in until it is whole."""
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
_NO_FOLDER = "a file, where a folder belongs"
_PART_PATTERN = re.compile(_PART)
# A name of a table, a figure or a file of a run: any text that is one name on every system, and no hidden file.
_NAME = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,199}")


def is_id(kind: str, identifier: object) -> bool:
    """Whether a text is a name that the workbench gives to something of a kind, such as the id of a run."""
    return isinstance(identifier, str) and KINDS[kind].fullmatch(identifier) is not None


def is_name(name: str) -> bool:
    """Whether a text is one name of a file, which leads nowhere else."""
    return _NAME.fullmatch(name) is not None


def is_rest(name: str) -> bool:
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
        elif is_rest(entry.name):
            # Somebody may be writing it: `workbench.writing` tells.
            continue
        elif entry.is_dir(follow_symlinks=False):
            if not is_id(kind, entry.name):
                yield path, "called as the workbench calls nothing"
            elif kind == "datasets" or path.suffix == LOCK:
                yield path, "a folder, where a file belongs"
            elif kind in {"jobs", "cache"}:
                # Runs and sets tell of what is in them themselves.
                yield from ((path / name, problem) for name, problem in oddities(path))
        elif kind in {"runs", "activations", "jobs"} and is_id(kind, entry.name) and path.suffix != LOCK:
            yield path, _NO_FOLDER


def drop_strange(study: Path, name: str) -> str:
    """Remove a link, a pipe or a device among the parts of a study, and not what it leads to.

    Args:
        study: The study's folder.
        name: As :func:`strange` finds it: looked for in what is there, and never joined.

    Returns:
        What it was; empty where there was none.
    """
    found = {path.relative_to(study).as_posix(): path for kind in KINDS for path, _ in strange(study, kind)}
    if (path := found.get(name)) is None or (problem := odd(path)) is None:
        return ""
    what = f"{problem}{_led_to(path)}"
    path.unlink()
    return what


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
        # Reading all of it would take for ever, and nothing of ours is like that.
        hollow = state.st_size > _HOLLOW_BYTES and getattr(state, "st_blocks", state.st_size) * 512 * 1000 < state.st_size
        return "a file that is long and holds next to nothing" if hollow else None
    return None if stat.S_ISDIR(state.st_mode) else "neither a file nor a folder"


def is_file(path: Path) -> bool:
    """Whether a path is a regular file itself, and nothing odd."""
    try:
        return odd(path) is None and stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError, StudyError):
        return False


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below a folder, in the order of their paths; links are left out and not followed."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if is_file(path := Path(root) / name))


def oddities(folder: Path) -> Iterator[tuple[str, str]]:
    """Everything below a folder that is neither file nor folder: its path in there, and what it is."""
    for root, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(root) / name
            if (problem := odd(path)) is not None:
                yield path.relative_to(folder).as_posix(), problem


def require_plain(folder: Path) -> None:
    """See that a folder and all below it are files and folders.

    Raises:
        StudyError: There is a link, a pipe or a device; it is named.
    """
    if (problem := odd(folder)) is not None:
        raise StudyError(f"{folder} is {problem}: it is not followed. `workbench study repair` drops it.")
    for name, problem in oddities(folder):
        raise StudyError(f"{folder} holds {shown(name)}, which is {problem}: it is not read. `workbench study repair` drops it.")


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
