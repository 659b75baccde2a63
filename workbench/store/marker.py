"""The file that makes a folder a study."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from workbench.errors import StudyError, disk_errors

STUDY_FILE = "study.json"
FORMAT = 1


def make_or_check(folder: Path, called: str, create: bool) -> None:
    """Make a study of a folder that is new or empty, or check that it is one.

    Args:
        folder: The folder.
        called: What the user calls it, for the errors.
        create: Make it when it does not exist; otherwise that is an error.

    Raises:
        StudyError: The folder holds something else, or cannot be read.
    """
    marker = folder / STUDY_FILE
    if marker.exists():
        _check(marker, called)
        return
    if not create:
        raise StudyError(f"There is no study at {called}. Make one with `workbench capture {called} …`.")
    # Looked for again, last: another process may be making the study at this moment, and what it makes is not in the way.
    if folder.is_file() or (folder.is_dir() and not _just_begun(folder) and not marker.exists()):
        raise StudyError(f"{called} is not a study and not empty; choose another folder for the study.")
    with disk_errors("the study"):
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        partial = marker.with_name(f"{STUDY_FILE}.{uuid.uuid4().hex}.partial")
        partial.write_text(json.dumps({"format": FORMAT, "name": folder.name}, indent=1))
        partial.replace(marker)


def _check(marker: Path, called: str) -> None:
    try:
        header = json.loads(marker.read_text())
    except ValueError as error:
        raise StudyError(f"{marker} is damaged: {error}. Restore it from a copy.") from error
    if header.get("format") != FORMAT:
        raise StudyError(
            f"{called} is a study of format {header.get('format')}; this workbench reads format {FORMAT}. Upgrade it."
        )


def _just_begun(folder: Path) -> bool:
    """Whether a folder holds no more than a study whose making was cut short."""
    return all(path.name == "runs" or path.match(f"{STUDY_FILE}*.partial") for path in folder.rglob("*"))
