"""Checks before a study is opened: whether this user has opened it before, and whether it can be written."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import NotTrustedError, StudyError
from workbench.store.look import look, side_files
from workbench.store.members import CATALOG, STUDY_FILE
from workbench.store.study_file import StudyFile
from workbench.store.trust import remember, settled, trusted


def admit(folder: Path, called: str, about: StudyFile, trust: bool, catalog: bool, remote: bool) -> None:
    """Inspect a study that this user has not opened before, and record that they have. Places that the user named are trusted."""
    # Links and pipes are refused, whoever made the study.
    open_files = [] if about.catalog else side_files(folder)
    # Checked after the files above: another process of this user that opens it now records it as known before it makes any.
    known = trusted(folder, about.id)
    named = {about.catalog} if catalog else set()
    named |= {about.remote} if remote else set()
    places = [place for place in about.places if place not in named and place not in (known or ())]
    asked = open_files if known is None else []
    if (places or asked) and not trust:
        raise NotTrustedError(called, places, asked)
    if known is None and not about.catalog and not open_files:
        try:
            look(folder / CATALOG, called)
        except StudyError:
            # Such a process may have recorded the study in the meantime.
            if trusted(folder, about.id) is None:
                raise
    if known is None or not set(about.places) <= known or not settled(folder, about.id):
        remember(folder, about.id, about.places)


def writable(folder: Path) -> bool:
    """Whether a study can be written, as far as permissions tell."""
    files = [path for path in (folder / CATALOG, folder / STUDY_FILE) if path.exists()]
    return os.access(folder, os.W_OK | os.X_OK) and all(os.access(path, os.W_OK) for path in files)
