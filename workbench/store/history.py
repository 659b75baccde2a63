"""The history of a study as a tree: activation sets, the runs that read them, and the runs made from those."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.activations.manifest import parse_manifest, set_folders
from workbench.errors import StudyError
from workbench.frames import records
from workbench.paths import inside_or_none
from workbench.store.deleted import deleted_sets
from workbench.store.edited import parents_of

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

COLUMNS = ["depth", "id", "what", "parents", "status", "seed", "seconds", "peak_mib", "started"]


def history(study: StoredStudy) -> pd.DataFrame:
    """The tree of a study, from the top down.

    Returns:
        ``depth, id, what, parents, status, seed, seconds, peak_mib, started``: ``what`` is ``activations`` (``activations
        under an edit`` of a run, which is its parent) or the analysis; what has several parents stands below the first of them,
        and a repetition below the run that it repeats. Seconds and MiB are those that the run took; sets have none.
    """
    nodes = {node["id"]: node for node in [*_sets(study), *_runs(study)]}
    below: dict[str, list[str]] = {}
    for name, node in nodes.items():
        first = next((parent for parent in node["parents"] if parent in nodes), "")
        below.setdefault(first, []).append(name)
    rows = [nodes[name] | {"depth": depth} for depth, name in _walk(below, "", 0)]
    # Sets have no seed; a nullable integer type keeps seeds whole.
    return pd.DataFrame(rows, columns=COLUMNS).assign(seed=pd.Series([row["seed"] for row in rows], dtype=object))


def _walk(below: dict[str, list[str]], name: str, depth: int) -> Iterator[tuple[int, str]]:
    for child in below.get(name, []):
        yield depth, child
        yield from _walk(below, child, depth + 1)


def _sets(study: StoredStudy) -> Iterator[dict[str, Any]]:
    for folder in set_folders(study.folder) if inside_or_none(study.folder, "activations") else []:
        with suppress(StudyError):
            request = parse_manifest(folder).request
            yield _set(request.id, "done", parents_of(request.edits))
    for name in deleted_sets(study):
        yield _set(name, "deleted", [])


def _set(name: str, status: str, parents: list[str]) -> dict[str, Any]:
    blank = dict.fromkeys(("seed", "seconds", "peak_mib", "started"))
    what = "activations under an edit" if parents else "activations"
    return {"id": name, "what": what, "parents": parents, "status": status} | blank


def _runs(study: StoredStudy) -> Iterator[dict[str, Any]]:
    for row in records(study.runs(status=None)):
        inputs = row["inputs"]
        parents = inputs.get("parents") or [inputs[key] for key in ("activations",) if key in inputs]
        repeated = row["provenance"].get("repeats")
        if repeated:
            parents = [repeated, *parents]
        facts = {key: row[key] for key in ("id", "status", "seed", "seconds", "peak_mib", "started")}
        what = f"{row['analysis']}, repeated" if repeated else row["analysis"]
        yield facts | {"what": what, "parents": [str(parent) for parent in parents]}
