"""Recording a piece of work as a run: timed, measured, and written as a whole or not at all.

A run is written into ``runs/<id>.partial`` and renamed when whole, then its concepts enter the catalog.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from workbench.analysis import Analysis, Result, reason
from workbench.datasets.spans import PREFIXES
from workbench.errors import WorkbenchError, disk_errors
from workbench.paths import PARTIAL, inside
from workbench.processes import identity, shareable
from workbench.seeds import check_seed
from workbench.store import tables
from workbench.store.ended import sweep, undo_run
from workbench.store.runs import Run, seal, write_json

if TYPE_CHECKING:
    from workbench.study import Study

PACKAGES = (
    "concept-workbench",
    "torch",
    "transformers",
    "transformer-lens",
    "sae-lens",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
)


@dataclass(frozen=True)
class RunRequest:
    """What is known of a run before it begins.

    Attributes:
        id: A hash of what the run depends on; further attempts get ``-2``, ``-3`` and so on at the end.
        analysis: The name of the analysis, or another kind of run (`workbench.store.run_kinds`).
        config: Its options.
        seed: Every random choice comes from it.
        inputs: What it reads; the work may add to it.
        provenance: Further facts, such as ``version`` and, of a repetition, ``repeats``.
        force: Do the work although a finished run of the id is there.
    """

    id: str
    analysis: str
    config: dict[str, Any]
    seed: int
    inputs: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    force: bool = False


def record_run(
    study: Study,
    request: RunRequest,
    work: Callable[[], Result],
    fill: Callable[[Path, Result], None],
    analysis: Analysis | None = None,
    evidence: Sequence[dict[str, Any]] = (),
) -> Run:
    """Do a piece of work as a run: timed, measured, written as a whole or not at all.

    Args:
        study: The study.
        request: What is recorded before the work begins.
        work: Does the work.
        fill: Writes its result into the folder of the run.
        analysis: Gives the method of the concepts.
        evidence: Rows that enter the catalog with the run; read when the work is done.
    """
    check_seed(request.seed)
    study.require_writable("the study")
    sweep(study)
    run_id, finished = _free_id(study, request)
    if finished is not None:
        return Run(study, finished)
    started = time.monotonic()
    record: dict[str, Any] = {
        "id": run_id, "analysis": request.analysis, "status": "running", "config": request.config, "seed": request.seed,
        "inputs": request.inputs, "provenance": provenance() | request.provenance, "started": tables.now("milliseconds"),
        "seconds": None, "peak_mib": None, "error": None,
    }  # fmt: skip
    home, partial = inside(study.folder, "runs", run_id), inside(study.folder, "runs", f"{run_id}{PARTIAL}")
    study.catalog.insert(tables.runs, [record])
    try:
        with peak_memory() as peak, disk_errors(f"run {run_id}"):
            partial.mkdir(parents=True)
            result = work()
            fill(partial, result)
            # This file is shared with the run, so it has no process; while the run lasts, the catalog has that.
            write_json(partial / "config.json", record | {"provenance": shareable(record["provenance"])})
            seal(partial)
            partial.rename(home)
        seconds = time.monotonic() - started
        concepts, names = _concept_rows(run_id, result, analysis)
        shown = [{c: row.get(c) for c in tables.EVIDENCE_COLUMNS} | {"run": run_id} for row in evidence]
        # The work may have added to its inputs.
        ended = {"status": "done", "inputs": request.inputs, "seconds": seconds, "peak_mib": peak()}
        study.catalog.finish_run(run_id, concepts, names, shown, **ended)
    except BaseException as error:
        undo_run(study, run_id)
        cancelled = isinstance(error, KeyboardInterrupt | SystemExit)
        _note_end(study, run_id, "cancelled" if cancelled else "failed", error, time.monotonic() - started)
        raise
    if study.remote:
        study.remote.put_texts()
        study.remote.put("runs", run_id)
    return _recorded(study, run_id)


def _free_id(study: Study, request: RunRequest) -> tuple[str, dict[str, Any] | None]:
    """The id for a new run, and the record of a finished run that is to be returned in its place."""
    run_id, attempt = request.id, 1
    while (found := study.catalog.run(run_id)) is not None:
        if found["status"] == "done" and not request.force and not found["provenance"].get("repeats"):
            return run_id, found
        attempt += 1
        run_id = f"{request.id}-{attempt}"
    return run_id, None


def _recorded(study: Study, run_id: str) -> Run:
    found = study.catalog.run(run_id)
    assert found is not None
    return Run(study, found)


def _note_end(study: Study, run_id: str, status: str, error: BaseException, seconds: float) -> None:
    text = "It was stopped before it was done." if status == "cancelled" else reason(error)
    try:
        study.catalog.update_run(run_id, status=status, error=text, seconds=seconds)
    except (WorkbenchError, OSError):
        # With a full disk even this row may not fit; the original error is the one to show.
        return


def _concept_rows(run_id: str, result: Result, analysis: Analysis | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The concepts of a result as the catalog holds them, and the names that the method gives them."""
    rows: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    for concept_set in result.concepts:
        given = concept_set.table["name"] if "name" in concept_set.table else [""] * len(concept_set)
        others = concept_set.table["other"] if "other" in concept_set.table else [""] * len(concept_set)
        for label, name, other in zip(concept_set.table["label"], given, others, strict=True):
            number = len(rows)
            concept = f"{run_id}.{number}"
            rows.append(
                {
                    "id": concept,
                    "run": run_id,
                    "number": number,
                    "method": analysis.method if analysis else "",
                    "site": concept_set.site,
                    "level": concept_set.level,
                    "label": label,
                }
            )
            if name:
                author = analysis.name if analysis else ""
                names.append({"concept": concept, "text": name, "source": "method", "author": author, "run": run_id})
            elif label:
                text = label.split(":", 1)[1] if label.startswith(PREFIXES) else label.replace("=", ": ", 1)
                text += f" (not {other})" if other else ""
                names.append({"concept": concept, "text": text, "source": "method", "author": "label", "run": run_id})
    return rows, names


def provenance() -> dict[str, Any]:
    """Package versions, the machine and the process."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    machine = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": machine,
        "command": Path(sys.argv[0]).name,
        # Tells a running run from one whose process was killed.
        "process": identity(),
    }


@contextmanager
def peak_memory(interval: float = 0.2) -> Iterator[Callable[[], float]]:
    """Measure the largest resident memory, in MiB, while the block runs, by looking every ``interval`` seconds."""
    process, peak, done = psutil.Process(), [0.0], threading.Event()

    def look() -> None:
        while True:
            peak[0] = max(peak[0], process.memory_info().rss / 2**20)
            if done.wait(interval):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        done.set()
        thread.join()
