"""Activation sets that a worker fetches from the remote because it cannot see the study's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.activations.manifest import parse_manifest
from workbench.activations.writer import whole
from workbench.errors import StudyError
from workbench.paths import LOCK, inside, remove_tree
from workbench.processes import hold
from workbench.store.remote import Remote

if TYPE_CHECKING:
    from workbench.activations.manifest import Stored


def fetched(url: str, name: str, files: dict[str, Stored]) -> Path:
    """The folder of a set in the user's cache, fetched from a remote unless it is there; of several workers, one fetches it.

    Args:
        url: The remote.
        name: The set.
        files: Its files, as the study has them.

    Raises:
        StudyError: It is not there, or damaged there, or another one of that name.
    """
    from workbench.models.cache import cache_dir

    study = cache_dir() / "sets" / hashlib.sha256(url.encode()).hexdigest()[:16]
    home = inside(study, "activations", name)
    lock = inside(study, "cache", f"{name}{LOCK}")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with hold(lock, f"The set of activations {name}", patient=True):
        if whole(home) and parse_manifest(home).files != files:
            remove_tree(home)
        Remote(study, url).fetch_set(name)
        if parse_manifest(home).files != files:
            raise StudyError(
                f"The set {name} at {url} has other bytes than that of the study: remove it there, and push it again."
            )
    return home
