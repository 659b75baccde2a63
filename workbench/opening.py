"""Opening a study, making a new one, or unpacking one from elsewhere."""

from __future__ import annotations

import warnings
from pathlib import Path

from workbench.errors import WorkbenchWarning
from workbench.numbers import counted
from workbench.paths import require_utf_8, shown
from workbench.progress import Progress
from workbench.store.admission import admit, writable
from workbench.store.catalog import Catalog
from workbench.store.deleted import finish_deletions
from workbench.store.members import CATALOG
from workbench.store.study_file import make_or_check
from workbench.store.unpacking import unpack_files
from workbench.study import Study


def open_study(
    path: str | Path, create: bool = True, catalog: str | None = None, remote: str | None = None, trust: bool = False, *,
    read_only: bool = False,
) -> Study:  # fmt: skip
    """Open a study, and make it when it is not there.

    A study that this user has not opened before is looked at first: a catalog that holds anything but our tables is refused. One
    whose folder may not be written is opened for reading only (``study.read_only``), and a warning says so.

    Args:
        path: A folder.
        create: Make it when it does not exist; otherwise that is an error.
        catalog: Where the catalog of a new study is to be, such as ``postgresql+psycopg://user@host/database``; ``catalog.db``
            in the folder when not given. A study keeps it.
        remote: Where runs and activations are kept as well and fetched from when they are not here, such as
            ``s3://bucket/prefix``; kept like the catalog. A study that has none yet gets it.
        trust: Say yes, once, to what a study from elsewhere does on opening; see :class:`workbench.errors.NotTrustedError`.
        read_only: Write nothing, although the folder may be written.

    Raises:
        NotTrustedError: It is from elsewhere, and names places that would be contacted, or its catalog was not closed.
        StudyError: The folder holds something else, or cannot be read; or the catalog or remote cannot, or is another one.
        ConfigError: The catalog is in no database that can be used, or a URL has a password in it.
        MissingExtraError: There is no library for the database or the remote.
    """
    folder = require_utf_8(Path(path).expanduser().resolve())
    about = make_or_check(folder, str(path), create, catalog, remote)
    admit(folder, str(path), about, trust, catalog is not None, remote is not None)
    if not read_only and (read_only := not writable(folder)):
        text = f"The study {path} is open for reading only: its folder may not be written."
        warnings.warn(text, WorkbenchWarning, stacklevel=2)
    study = Study(folder, Catalog(about.catalog or f"sqlite:///{folder.as_posix()}/{CATALOG}", read_only), about.remote)
    finish_deletions(study)
    return study


def unpack(path: str | Path, folder: str | Path, catalog: str | None = None, progress: Progress | None = None) -> Study:
    """Make a study of a packed one, or of the folder of somebody's study, and open it. A bundled study goes by its name.

    What is no part of a study is left out, and so are rows of its catalog that the workbench would not have written; a warning
    says so, and another one where files are damaged.

    Args:
        path: The file, or the folder.
        folder: The folder to make.
        catalog: Where its catalog is to be; see :func:`workbench.open_study`.
        progress: Called with the bytes that were unpacked, those there are, and a text.

    Raises:
        ConfigError: The catalog is in no database that can be used.
        StudyError: The file is no packed study, or the folder is taken.
        DiskFullError: There is no room; nothing is left.
    """
    study = open_study(unpack_files(path, folder, catalog, progress), create=False)
    broken = study.verify()["state"].eq("broken").sum()
    if broken:
        warnings.warn(
            f"{counted(int(broken), 'part')} of the study {'is' if broken == 1 else 'are'} damaged: `workbench study verify"
            f" {shown(str(study.folder))}` says which, and `workbench study repair` drops or mends them.",
            WorkbenchWarning,
            stacklevel=2,
        )
    return study
