"""What is looked at before a study is opened: whether its user knows it, and whether it can be written."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import NotTrustedError, StudyError
from workbench.store.look import look, side_files
from workbench.store.members import CATALOG, STUDY_FILE
from workbench.store.study_file import StudyFile
from workbench.store.trust import remember, settled, trusted


def admit(folder: Path, called: str, about: StudyFile, trust: bool, catalog: bool, remote: bool) -> None:
    """Look at a study that this user does not know, and keep that they know it. Places that they named need no other yes."""
    # A link or a pipe is refused whoever made the study.
    open_files = [] if about.catalog else side_files(folder)
    # Asked for after those: a process of this user that is opening it now keeps that it is known before it makes any.
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
            # Meanwhile such a process may have looked at it, and be bringing it up.
            if trusted(folder, about.id) is None:
                raise
    if known is None or not set(about.places) <= known or not settled(folder, about.id):
        remember(folder, about.id, about.places)


def writable(folder: Path) -> bool:
    """Whether a study can be written, as far as permissions tell."""
    files = [path for path in (folder / CATALOG, folder / STUDY_FILE) if path.exists()]
    return os.access(folder, os.W_OK | os.X_OK) and all(os.access(path, os.W_OK) for path in files)
