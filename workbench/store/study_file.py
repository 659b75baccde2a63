"""``study.json``, the file that makes a folder a study."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from workbench.errors import StudyError, disk_errors
from workbench.paths import PARTIAL, inside, is_file, printable, read_bytes, walk
from workbench.shapes import is_version, reading, shaped
from workbench.store import trust
from workbench.store.members import STUDY_FILE
from workbench.writing import new_beside, placing, write_beside

FORMAT = 1
ELSEWHERE_FORMAT = 2
"""The format of a study with a catalog or remote elsewhere, so that versions that only know the first refuse it."""
MOST_BYTES = 2**16
_ADVICE = "Restore it from a copy."


@dataclass(frozen=True)
class StudyFile:
    """The content of the file.

    Attributes:
        name: What the folder was called when the study was made.
        catalog: The URL of the catalog in PostgreSQL, without a password; empty where it is ``catalog.db`` in the folder.
        remote: The URL of the remote, without keys; empty if there is none.
        id: Tells this study from another one in the same folder; empty in studies from before there were ids.
    """

    name: str
    catalog: str = ""
    remote: str = ""
    id: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """The places that are contacted when the study is opened."""
        return tuple(place for place in (self.catalog, self.remote) if place)

    def text(self) -> str:
        """The file's content."""
        more = {key: value for key in ("catalog", "remote", "id") if (value := getattr(self, key))}
        return json.dumps({"format": ELSEWHERE_FORMAT if self.places else FORMAT, "name": self.name, **more}, indent=1)


def new_id() -> str:
    """An id for a study that is made now."""
    return uuid.uuid4().hex


def make_or_check(folder: Path, called: str, create: bool, catalog: str | None = None, remote: str | None = None) -> StudyFile:
    """Make a study of a folder that is new or empty, or check that it is one.

    Args:
        folder: The folder.
        called: The name for messages.
        create: Make it when it does not exist; otherwise that is an error.
        catalog: Where the catalog of a new study is to be, when not in the folder; of one that is there, where it should be.
        remote: The URL of a remote; a study that has none gets it.

    Raises:
        StudyError: The folder holds something else, or cannot be read; or the study's catalog or remote is somewhere else.
        ConfigError: The URL of the catalog cannot be used.
    """
    file = folder / STUDY_FILE
    wanted = StudyFile(folder.name, id=new_id()) if catalog is None else moved(folder.name, catalog)
    if not os.path.lexists(file):
        if not create:
            raise StudyError(f"There is no study at {called}. Make one with `workbench capture {called} …`.")
        # Checked again last: another process may be making the study at this moment, and its files are not in the way.
        if os.path.lexists(folder) and not (folder.is_dir() and (_just_begun(folder) or file.exists())):
            raise StudyError(f"{called} is not a study and not empty; choose another folder for the study.")
        if wanted.catalog:
            from workbench.store.postgres import require_reachable

            require_reachable(wanted.catalog)
        if remote is not None:
            _require_remote(folder, remote)
        with disk_errors("the study"):
            with placing(folder):
                inside(folder, "runs").mkdir(parents=True, exist_ok=True)
            # Recorded before the file is visible, so that a process that opens the study now does not ask whether to trust it.
            trust.remember(folder, wanted.id, wanted.places)
            _write_once(file, wanted)
    found = read(file, called)
    if catalog is not None and not _same(found.catalog, catalog):
        raise StudyError(
            f"The catalog of {called} is at {found.catalog or 'catalog.db in its folder'}: leave the catalog out to open it. To"
            " move a study, pack it and unpack it with the new catalog."
        )
    return found if remote is None else _with_remote(file, found, called, remote)


class _Header(BaseModel):
    format: Any = None
    name: str = ""
    catalog: str = ""
    remote: str = ""
    id: str = ""


def read(file: Path, called: str) -> StudyFile:
    """Read and check a study's file.

    Raises:
        StudyError: It is damaged, or of a later format.
        ConfigError: The URL of the catalog cannot be used.
    """
    with reading(str(file), _ADVICE):
        content = read_bytes(file, MOST_BYTES)
    return parse(content, str(file), called)


def parse(content: bytes, what: str, called: str) -> StudyFile:
    """Parse the content of a study's file; ``what`` names the file in errors. See :func:`read`."""
    from workbench.store.postgres import known_url
    from workbench.store.remote_url import known_remote

    with reading(what, _ADVICE):
        header = shaped(content, _Header)
    if not is_version(header.format, FORMAT, ELSEWHERE_FORMAT):
        version = printable(str(header.format), 40)
        raise StudyError(f"{called} is a study of format {version}; this workbench reads format {ELSEWHERE_FORMAT}. Upgrade it.")
    found = StudyFile(**header.model_dump(exclude={"format"}))
    # No other URLs are accepted: no database in another file, and no web page.
    if found.catalog:
        known_url(found.catalog)
    if found.remote:
        known_remote(found.remote)
    return found


def moved(name: str, catalog: str) -> StudyFile:
    """The study file of a study whose catalog is moved to PostgreSQL.

    Raises:
        ConfigError: The URL cannot be used.
    """
    from workbench.store.postgres import known_url, with_schema

    return StudyFile(name, with_schema(known_url(catalog), name).render_as_string(), id=new_id())


def _require_remote(folder: Path, url: str) -> None:
    """Check that a remote can be reached before it is written to the study's file."""
    from workbench.store.remote import Remote

    Remote(folder, url).names("runs")


def _with_remote(file: Path, found: StudyFile, called: str, url: str) -> StudyFile:
    from workbench.store.remote_url import known_remote

    wanted = replace(found, remote=known_remote(url))
    if found.remote and found.remote != wanted.remote:
        raise StudyError(
            f"The remote of {called} is {found.remote}: leave the remote out to open it. If it was moved, change it in {file}."
        )
    if not found.remote:
        _require_remote(file.parent, url)
        if trust.trusted(file.parent, found.id) is not None:
            # Recorded before the file changes, so that a process that opens the study now does not ask whether to trust it.
            trust.remember(file.parent, found.id, wanted.places, changing=True)
        with disk_errors("the study"):
            write_beside(file, wanted.text())
    return wanted


def _same(kept: str, asked: str) -> bool:
    """Whether two URLs are of the same catalog; the one asked for may leave out the schema."""
    from workbench.store.postgres import SCHEMA_KEY, known_url

    if not kept:
        return False
    one, two = known_url(kept), known_url(asked)
    if SCHEMA_KEY not in two.query:
        one = one.difference_update_query([SCHEMA_KEY])
    return one == two


def _write_once(file: Path, content: StudyFile) -> None:
    """Write the file where there is none: of several processes that make a study at once, all open what the first one made."""
    with new_beside(file) as partial:
        partial.write_text(content.text())
        try:
            os.link(partial, file)
        except FileExistsError:
            pass
        except OSError:
            # The file system has no hard links.
            partial.replace(file)


def _just_begun(folder: Path) -> bool:
    """Whether a folder holds no more than a study whose making was cut short."""
    return all(
        name == "runs" or (name.endswith(PARTIAL) and is_file(root / name))
        for root, folders, names in walk(folder)
        for name in [*folders, *names]
    )
