"""Copying a whole study to its remote, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import StudyError
from workbench.paths import PARTIAL, inside, is_id, listed

if TYPE_CHECKING:
    from workbench.store.remote import Remote
    from workbench.store.stored_study import StoredStudy


def push(study: StoredStudy, remote: Remote) -> list[str]:
    """Copy everything complete that the remote lacks, and remove from it what was deleted. Returns what was copied.

    Raises:
        StudyError: Something is damaged here; everything else was copied.
    """
    from workbench.activations.checksums import damage
    from workbench.activations.writer import whole
    from workbench.store.deleted import remove_deleted
    from workbench.store.verify import damaged_files

    remove_deleted(study)
    remote.put_texts()
    remote.put_known()
    sets = [folder for folder in listed(study.folder, "activations") if folder.suffix != PARTIAL and whole(folder)]
    runs = [inside(study.folder, "runs", str(run)) for run in study.runs()["id"] if is_id("runs", str(run))]
    there = [("activations", folder) for folder in sets] + [("runs", folder) for folder in runs if folder.is_dir()]
    missing = [(kind, folder) for kind, folder in there if not remote.has(kind, folder.name)]
    damaged_parts = [f for kind, f in missing if any((damage if kind == "activations" else damaged_files)(f))]
    copied = [f"{kind}/{f.name}" for kind, f in missing if f not in damaged_parts and remote.put(kind, f.name)]
    if damaged_parts:
        names = ", ".join(folder.name for folder in damaged_parts)
        raise StudyError(f"Damaged, and not copied: {names}. `workbench study verify {study.name}` says what is wrong.")
    return copied


def pull(study: StoredStudy, remote: Remote, activations: bool = True) -> list[str]:
    """Fetch everything that is missing here, with or without the rows of sets. Returns what was fetched."""
    fetched = []
    for acts in study.activations():
        remote.fetch_texts(acts.dataset_record)
        if activations and acts.left_out and remote.has("activations", acts.id):
            remote.fetch_set(acts.id)
            fetched.append(f"activations/{acts.id}")
    for run in study.runs()["id"]:
        if is_id("runs", run) and not inside(study.folder, "runs", run).is_dir():
            remote.fetch_run(run)
            fetched.append(f"runs/{run}")
    return fetched
