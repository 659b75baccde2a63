"""Which files belong to a study: they are packed, and only they are unpacked."""

from __future__ import annotations

import re

from workbench.paths import FILE_NAME, PARTIAL, is_id

STUDY_FILE, CATALOG = "study.json", "catalog.db"
_IN_RUN = re.compile(rf"({FILE_NAME}/){{0,3}}{FILE_NAME}\.(json|parquet|safetensors)")
_IN_SET = re.compile(r"manifest\.json|index\.parquet|site[0-9]{3,6}-[0-9]{5}\.bin")


def belongs(name: str) -> bool:
    """Whether a file, by its path in the study's folder, is of a kind that the workbench writes there.

    Side files of the database do not belong: a closed database needs none, and SQLite would replay them.
    """
    kind, _, rest = name.partition("/")
    identifier, _, file = rest.partition("/")
    if kind == "runs":
        return is_id(kind, identifier) and not identifier.endswith(PARTIAL) and _IN_RUN.fullmatch(file) is not None
    if kind == "activations":
        return is_id(kind, identifier) and "." not in identifier and _IN_SET.fullmatch(file) is not None
    return is_id(kind, rest) if kind == "datasets" else name in {STUDY_FILE, CATALOG}


def run_of(name: str) -> str | None:
    """The run that a file is of; None for a file of no run."""
    kind, _, rest = name.partition("/")
    return rest.partition("/")[0] if kind == "runs" else None


def in_run(file: str) -> bool:
    """Whether a path in the folder of a run is of a kind that the workbench writes there."""
    return _IN_RUN.fullmatch(file) is not None
