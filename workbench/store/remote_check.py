"""Check a study's remote, and copy damaged files to it again. Nothing is removed there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from workbench.activations.checksums import damage
from workbench.activations.manifest import Manifest, set_folders
from workbench.activations.writer import whole
from workbench.errors import StudyError, WorkbenchError
from workbench.paths import child, inside, inside_or_none, is_file, is_id
from workbench.shapes import ShapeError, shaped
from workbench.store.deleted import deleted_parts
from workbench.store.remote import LAST, Remote
from workbench.store.runs import CHECKSUMS, parse_sums
from workbench.store.scratch import scratch
from workbench.store.texts import check_copy, copy_path, kept_records
from workbench.store.verify import damaged_files

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

Listing = Mapping[str, int]
"""The size in bytes of every file at a remote, by path."""
Known = dict[str, tuple[int | None, str | None]]
"""Size and SHA-256 of each file of a run or set, as far as they are known."""
Fault = tuple[str, str, Literal["broken", "unfinished", "unchecked"], str]
"""The part, such as ``runs/ID``; the file in it; the state; and a sentence about it."""


def check(study: StoredStudy, remote: Remote, there: Listing, unsound: Collection[str], content: bool) -> Iterator[Fault]:
    """Faults of the remote: files that are missing, or differ from what was copied there.

    Every run, set and data set at the remote is checked, whoever copied it there: the file that lists the others is read, and
    those must exist with their sizes. The size of a run's file is known if the run is here as well.

    Args:
        study: The study.
        remote: Its remote.
        there: The listing of the remote.
        unsound: Runs and sets whose local files are damaged, as ``runs/ID``: the remote is not compared with those.
        content: Read every byte at the remote and compare checksums.
    """
    gone = set(deleted_parts(study))
    found = {kind: sorted(_names(there, kind)) for kind in LAST}
    for kind, names in found.items():
        for name in names:
            if (_home(kind), name) in gone:
                yield f"{kind}/{name}", "", "unfinished", "It was deleted: `workbench study push` removes it at the remote."
                continue
            yield from _faults(study, remote, there, kind, name, f"{kind}/{name}" not in unsound, content)
    yield from _texts(study, remote, there, content)
    for place in _here(study):
        kind, _, name = place.partition("/")
        if place not in unsound and name not in found[kind]:
            yield place, "", "unfinished", "It is not at the remote: `workbench study push` copies it there."


def put_again(study: StoredStudy, remote: Remote, place: str, files: Collection[str]) -> tuple[bool, str]:
    """Copy a damaged part to the remote again if this study has the same bytes. Returns whether that was done, and a sentence."""
    kind, _, name = place.partition("/")
    try:
        done = _put_texts(study, remote, name) if kind == "datasets" else _put_part(study, remote, kind, name, files)
    except StudyError as error:
        return False, str(error)
    if done:
        return True, "What was damaged at the remote was put there again from the study's folder."
    return False, f"It is not here as it was there: remove {remote.url}/{place} and push it from where it was made."


def _put_part(study: StoredStudy, remote: Remote, kind: str, name: str, files: Collection[str]) -> bool:
    place, last = f"{kind}/{name}", LAST[kind]
    folder = inside(study.folder, _home(kind), name)
    if not _sound(kind, folder):
        return False
    here = _of(kind, name, (folder / last).read_bytes())
    if last in files:
        # The listing file is unreadable and says nothing of the others, so all files are replaced by this study's.
        _put(remote, folder, place, [*here, last], last)
        return True
    there = _of(kind, name, remote.read(f"{place}/{last}"))
    if any(here.get(file, (None, None))[1] != there[file][1] or there[file][1] is None for file in files):
        return False
    _put(remote, folder, place, files, last)
    return True


def _names(there: Listing, kind: str) -> set[str]:
    parts = [PurePosixPath(path).parts for path in there]
    found = {path[1] for path in parts if len(path) == 3 and (path[0], path[2]) == (kind, LAST[kind])}
    return {name for name in found if is_id(_home(kind), name)}


def _home(kind: str) -> str:
    """The local folder that corresponds to a kind of part at the remote."""
    return "activations" if kind == "left_out" else kind


def _faults(
    study: StoredStudy, remote: Remote, there: Listing, kind: str, name: str, sound: bool, content: bool
) -> Iterator[Fault]:
    place = f"{kind}/{name}"
    try:
        text = remote.read(f"{place}/{LAST[kind]}")
    except StudyError as error:
        yield place, LAST[kind], "unchecked", str(error)
        return
    try:
        known = _of(kind, name, text)
    except StudyError as error:
        yield place, LAST[kind], "broken", str(error)
        return
    if kind == "runs" and sound:
        known = _with_lengths(known, inside(study.folder, kind, name))
    for file, (length, digest) in known.items():
        at = f"{place}/{file}"
        if at not in there:
            yield place, file, "broken", "It is missing at the remote."
        elif length is not None and there[at] != length:
            yield place, file, "broken", f"It has {there[at]:,} bytes at the remote instead of {length:,}."
        elif content and digest is not None and remote.digest(at) != digest:
            yield place, file, "broken", "Its checksum at the remote is not that of what was written."


def _of(kind: str, name: str, text: bytes) -> Known:
    """Size and checksum of each file, from the file that lists them. `StudyError` when it cannot be read."""
    if kind == "runs":
        return {file: (None, digest) for file, digest in parse_sums(text).items()}
    try:
        manifest = shaped(text, Manifest)
    except ShapeError as error:
        raise StudyError(f"It cannot be read: {error}.") from None
    if manifest.request.id != name:
        raise StudyError("It is of another set.")
    if kind == "left_out":
        return {}
    stored = manifest.files
    return {file: (length, stored[file].sha256 if file in stored else None) for file, length in manifest.lengths().items()}


def _with_lengths(known: Known, folder: Path) -> Known:
    """Add the sizes of a run's files, if the same run is here."""
    if not is_file(folder / CHECKSUMS):
        return known
    here = parse_sums((folder / CHECKSUMS).read_bytes())
    return {
        file: (child(folder, file).stat().st_size if here.get(file) == digest and is_file(child(folder, file)) else None, digest)
        for file, (_, digest) in known.items()
    }


def _texts(study: StoredStudy, remote: Remote, there: Listing, content: bool) -> Iterator[Fault]:
    known = {copy_path(study.folder, record["hash"]).stem: record for record in kept_records(study.folder)}
    found = [PurePosixPath(path) for path in there if fnmatch(path, "datasets/*.json")]
    for name in sorted(path.stem for path in found if is_id("datasets", path.name)):
        table = f"{name}.parquet"
        if not there.get(f"datasets/{table}"):
            yield f"datasets/{name}", table, "broken", "It is missing at the remote."
        elif content and name in known:
            with scratch(study.folder) as folder:
                for file in (table, f"{name}.json"):
                    remote.download(f"datasets/{file}", inside(folder, "datasets", file))
                try:
                    check_copy(folder, known[name])
                except (WorkbenchError, OSError, ValueError):
                    yield f"datasets/{name}", table, "broken", "It is not at the remote as it was."


def _here(study: StoredStudy) -> Iterator[str]:
    """The finished runs and whole sets in the study's folder."""
    for folder in set_folders(study.folder):
        if whole(folder):
            yield f"activations/{folder.name}"
    for run in study.runs()["id"]:
        if is_id("runs", run) and (home := inside_or_none(study.folder, "runs", run)) is not None and home.is_dir():
            yield f"runs/{run}"


def _sound(kind: str, folder: Path) -> bool:
    """Whether the study's folder has a run or set, undamaged."""
    if not is_file(folder / LAST[kind]):
        return False
    return not any(damaged_files(folder)) if kind == "runs" else not any(damage(folder))


def _put(remote: Remote, folder: Path, place: str, files: Collection[str], last: str) -> None:
    """Copy files, the one that lists the others last."""
    for file in files:
        if file != last:
            remote.upload(child(folder, file), f"{place}/{file}")
    if last in files:
        remote.write(f"{place}/{last}", (folder / last).read_bytes())


def _put_texts(study: StoredStudy, remote: Remote, name: str) -> bool:
    table = copy_path(study.folder, name)
    record = next((record for record in kept_records(study.folder) if copy_path(study.folder, record["hash"]) == table), None)
    if record is None or not table.is_file():
        return False
    try:
        check_copy(study.folder, record)
    except (WorkbenchError, OSError, ValueError):
        return False
    _put(remote, table.parent, "datasets", [table.name, f"{name}.json"], f"{name}.json")
    return True
