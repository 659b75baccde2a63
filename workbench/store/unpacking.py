"""Make a study from a packed one, or from the folder of a study of somebody else, without opening that in place.

Files with the names that a study has are copied, with limits on their sizes. Of the catalog, valid rows of our tables are
inserted into a new one.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import sqlite3
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from workbench.errors import DiskFullError, StudyError, WorkbenchWarning, disk_errors
from workbench.memory import size_text
from workbench.paths import child, files_below, inside, is_file, require_utf_8, shown
from workbench.progress import Progress, adding
from workbench.store import trust
from workbench.store.catalog import Catalog
from workbench.store.copying import copy_rows
from workbench.store.look import present, reading, rows
from workbench.store.members import CATALOG, STUDY_FILE, belongs, run_of
from workbench.store.study_file import MOST_BYTES, StudyFile, moved, new_id, parse
from workbench.store.tables import concepts, info, runs
from workbench.writing import folder_beside, new_beside, placing

MAX_MEMBERS = 200_000
NEEDED = (info, runs, concepts)
"""Tables without which the others have no meaning."""
MOST_TIMES, ALWAYS_BYTES = 100, 64 * 2**20
"""Limits on unpacking: so many times the size of the file, but always at least so many bytes."""
_BLOCK, _CHUNK_ROWS, _NAME_BYTES = 2**20, 5000, 255
_DAMAGED = (
    zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, struct.error, ValueError,
    OverflowError, IndexError, KeyError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file to copy: its path in a study, its declared size, and how to open it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack_files(path: str | Path, folder: str | Path, catalog: str | None = None, progress: Progress | None = None) -> Path:
    """Make the folder of a study, as :func:`workbench.unpack` says, without opening it. Returns the folder."""
    source, home = _source(path), require_utf_8(Path(folder).expanduser().resolve())
    with placing(home):
        taken = home.exists() and (not home.is_dir() or any(home.iterdir()))
    if taken:
        raise StudyError(f"{folder} is there already; choose another folder, or remove it first.")
    with (
        disk_errors("the study"),
        folder_beside(home) as partial,
        new_beside(home, folder=True) as scratch,
    ):
        about = _fill(source, partial, scratch, home.name, progress)
        if catalog is not None:
            about = _move_catalog(partial, home.name, catalog)
        (partial / STUDY_FILE).write_text(about.text())
    trust.remember(home, about.id, about.places)
    return home


def _source(path: str | Path) -> Path:
    from workbench.datasets.paths import data_dir

    source, packed = Path(path).expanduser(), data_dir() / "studies"
    if source.is_file() or (source / STUDY_FILE).is_file():
        return source
    if (bundled := packed / f"{path}.zip").is_file():
        return bundled
    known = ", ".join(sorted(file.stem for file in packed.glob("*.zip")))
    raise StudyError(f"There is no packed study at {path}: give a file that `workbench pack` wrote, or a bundled name: {known}.")


def _fill(source: Path, home: Path, scratch: Path, name: str, progress: Progress | None) -> StudyFile:
    """Copy what belongs to a study into a new folder, with a new catalog. Returns the content of its study file."""
    with _reading(source) as (members, size, strange):
        if STUDY_FILE not in members or CATALOG not in members:
            within = next((name for name in strange if PurePosixPath(name).name == STUDY_FILE), "")
            more = f" It holds {shown(within)}: unpack it yourself, and give the folder that it is in." if within else ""
            raise StudyError(
                f"{source} is no packed study: it was not written by `workbench pack`, and is no folder with a {CATALOG}.{more}"
            )
        _require_space(source, home, members, size)
        unpacked = adding(progress, sum(member.size for member in members.values()), "unpacking the study")
        for part in [STUDY_FILE, *(part for part in members if part.startswith(CATALOG))]:
            _copy(source, members[part], child(scratch, part), unpacked)
        original = _study_file(child(scratch, STUDY_FILE), str(source))
        lost = fresh_catalog(scratch / CATALOG, home / CATALOG, str(source))
        done = _finished(home / CATALOG)
        for member in members.values():
            if (run := run_of(member.name)) is not None and run not in done:
                strange.append(member.name)
            elif not member.name.startswith((STUDY_FILE, CATALOG)):
                _copy(source, member, child(home, member.name), unpacked)
    inside(home, "runs").mkdir(exist_ok=True)
    if strange:
        _warn(f"{len(strange):,} files of {source} are no part of a study, such as {shown(strange[0])}: they were left out.")
    for table, count in lost.items():
        _warn(f"{count:,} rows of '{table}' in {source} are not as the workbench writes them: they were left out.")
    return StudyFile(original.name if 0 < len(original.name) <= 200 else name, id=new_id())


def _study_file(copied: Path, called: str) -> StudyFile:
    if (size := copied.stat().st_size) > MOST_BYTES:
        raise StudyError(f"{STUDY_FILE} in {called} has {size:,} bytes, and no study's has more than {MOST_BYTES:,}.")
    return parse(copied.read_bytes(), f"{STUDY_FILE} in {called}", called)


def _warn(text: str) -> None:
    warnings.warn(text, WorkbenchWarning, stacklevel=2)


@contextmanager
def _reading(source: Path) -> Iterator[tuple[dict[str, Member], int, list[str]]]:
    """The files of a study, their packed size, and the names of files that do not belong to a study."""
    if source.is_dir():
        found = {path.relative_to(source).as_posix(): path for path in files_below(source)}
        # The write-ahead log is copied and read too. A rollback journal never is, because it can name other files.
        ahead = {f"{CATALOG}-wal"} & set(found)
        members = {name: _on_disk(name, path) for name, path in found.items() if belongs(name) or name in ahead}
        yield members, sum(member.size for member in members.values()), []
        return
    try:
        archive = zipfile.ZipFile(source)
    except _DAMAGED as error:
        raise _damaged(source, error) from error
    with archive:
        members, strange = _members(archive, source)
        yield members, source.stat().st_size, strange


def _damaged(source: Path, error: BaseException) -> StudyError:
    reason = shown(str(error).strip() or type(error).__name__)
    return StudyError(f"{source} is damaged or no packed study ({reason}). Fetch it again.")


def _on_disk(name: str, path: Path) -> Member:
    def opened() -> IO[bytes]:
        if not is_file(path):
            raise StudyError(f"{path} is no file any more: it was changed while it was copied.")
        return path.open("rb")

    return Member(name, os.lstat(path).st_size, opened)


def _members(archive: zipfile.ZipFile, source: Path) -> tuple[dict[str, Member], list[str]]:
    """The members of a packed study that belong to one, and the names of the rest.

    Raises:
        StudyError: A name leads outside the folder, or a member is no regular file.
    """
    members: dict[str, Member] = {}
    strange: list[str] = []
    found = archive.infolist()
    if len(found) > MAX_MEMBERS:
        raise StudyError(f"{source} is no packed study: it holds {len(found):,} files.")
    for one in found:
        name, inside = one.filename, PurePosixPath(one.filename)
        if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
            raise StudyError(f"{source} holds a file named {shown(name)}, which lies outside the study: it is not opened.")
        if not belongs(name):
            strange += [] if name.endswith("/") else [name]
            continue
        kind = stat.S_IFMT(one.external_attr >> 16)
        problem = (
            "is there twice" if name in members
            else "is encrypted" if one.flag_bits & 1
            else "is no plain file" if kind not in {0, stat.S_IFREG}
            else "has a longer name than files can have" if max(len(os.fsencode(part)) for part in inside.parts) > _NAME_BYTES
            else "is packed in an unusual way" if one.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
            else ""
        )  # fmt: skip
        if problem:
            raise StudyError(f"{shown(name)} in {source} {problem}, which `workbench pack` does not do: it is not opened.")
        members[name] = Member(name, one.file_size, lambda one=one: archive.open(one))  # type: ignore[misc]
    return members, strange


def _require_space(source: Path, home: Path, members: dict[str, Member], size: int) -> None:
    """Check the declared sizes against the size of the file and the free disk space, before anything is written."""
    needed = sum(member.size for member in members.values())
    if needed > max(size * MOST_TIMES, ALWAYS_BYTES):
        raise StudyError(
            f"{source} has {size_text(size)} and says that it unpacks to {size_text(needed)}, as no study does: it is not opened."
        )
    # For a while there are two copies of the catalog.
    needed += members[CATALOG].size
    if needed > (free := shutil.disk_usage(home).free):
        raise DiskFullError(
            f"{source} unpacks to {size_text(needed)}, and {home.parent} has {size_text(free)} free: free some space."
        )


def _copy(source: Path, member: Member, target: Path, unpacked: Callable[[int], None]) -> None:
    written = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as read, target.open("xb") as write:
            while block := read.read(_BLOCK):
                written += len(block)
                if written > member.size:
                    break
                write.write(block)
                unpacked(len(block))
    except (FileExistsError, NotADirectoryError) as error:
        raise StudyError(f"{shown(member.name)} is there twice in {source}: it is not opened.") from error
    except _DAMAGED as error:
        raise _damaged(source, error) from error
    except OSError as error:
        # An impossible offset in the file.
        if error.errno != errno.EINVAL:
            raise
        raise _damaged(source, error) from error
    if written != member.size:
        raise StudyError(
            f"{shown(member.name)} in {source} has not the {member.size:,} bytes that it should have: fetch it again."
        )


def fresh_catalog(source: Path, target: Path, called: str) -> dict[str, int]:
    """Copy the rows of our tables in a catalog from elsewhere into a new one of the same version.

    Args:
        source: A private copy of a catalog, with its write-ahead log if there is one.
        target: The database to make.
        called: What the source is called in errors.

    Returns:
        How many rows of each table were left out: those that are not as the workbench writes them, those about them, and all of a
        table that lacks a column which they need.

    Raises:
        StudyError: It is no catalog, or its runs or concepts lack a column.
    """
    lost: dict[str, int] = {}
    kept: dict[str, set[str]] = {runs.name: set(), concepts.name: set()}
    ahead = source.with_name(f"{source.name}-wal").exists()
    with closing(sqlite3.connect(target)) as write, reading(source, called, ahead) as read:
        tables = present(read, called)
        if info not in tables or runs not in tables:
            raise StudyError(f"The catalog of {called} holds no study.")
        for table in tables:
            good: list[dict[str, object]] = []
            before, seen = write.total_changes, 0
            for statement in _making(table):
                write.execute(statement)
            if needed := _lacking(read, table):
                if table in NEEDED:
                    raise StudyError(
                        f"The table '{table.name}' in the catalog of {called} has no column '{needed}' with values of its own,"
                        " and without it nothing of the study can be copied: fetch the study again."
                    )
                # Missing values are not invented; the rest of the study is consistent without the row.
                if left := read.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0]:
                    lost[table.name] = left
                continue
            for row, problem in rows(read, table, _size(source)):
                if table is runs and row.get("status") == "running":
                    continue
                seen += 1
                parent = next(((key.column.table.name, row.get(key.parent.name)) for key in table.foreign_keys), None)
                if problem or (parent is not None and parent[1] not in kept[parent[0]]):
                    continue
                good.append(row)
                if table.name in kept:
                    kept[table.name].add(str(row["id"]))
                if len(good) == _CHUNK_ROWS:
                    _insert(write, table, good)
            _insert(write, table, good)
            if left := seen - (write.total_changes - before):
                lost[table.name] = left
        write.commit()
    return lost


def _size(path: Path) -> int:
    beside = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


@cache
def _making(table: sa.Table) -> list[str]:
    """SQL statements that create a table with its indexes."""
    statements: list[sa.schema.ExecutableDDLElement] = [CreateTable(table)]
    statements += [CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return [str(statement.compile(dialect=dialect.dialect())) for statement in statements]


def _lacking(read: sqlite3.Connection, table: sa.Table) -> str:
    """The name of a required column that is missing or generated, or an empty text.

    Nullable columns may be missing, and row numbers are assigned anew.
    """
    there = {fact[1] for fact in read.execute(f'PRAGMA table_xinfo("{table.name}")') if not fact[6]}
    # The table of facts is useless without names and values.
    needed = [
        column.name for column in table.columns
        if table is info or not (column.nullable or column is table.autoincrement_column)
    ]  # fmt: skip
    return next((name for name in needed if name not in there), "")


def _insert(write: sqlite3.Connection, table: sa.Table, found: list[dict[str, object]]) -> None:
    if found:
        names = list(found[0])
        named, places = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        # Of two rows of one id, the first.
        statement = f'INSERT OR IGNORE INTO "{table.name}" ({named}) VALUES ({places})'
        write.executemany(statement, [tuple(row.values()) for row in found])
        found.clear()


def _finished(path: Path) -> set[str]:
    """The runs of a new catalog that are done."""
    with closing(sqlite3.connect(path)) as connection:
        return {run for (run,) in connection.execute("SELECT id FROM runs WHERE status = 'done'")}


def _move_catalog(folder: Path, name: str, url: str) -> StudyFile:
    """Move the catalog of a study that nobody has open into PostgreSQL."""
    about = moved(name, url)
    with closing(Catalog(f"sqlite:///{folder.as_posix()}/{CATALOG}")) as source, closing(Catalog(about.catalog)) as target:
        copy_rows(source, target)
    for file in folder.glob(f"{CATALOG}*"):
        file.unlink()
    return about
