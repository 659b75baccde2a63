"""How a run is executed, recorded and reused.

A run is written into ``runs/<id>.partial`` and renamed when whole, then its concepts enter the catalog. The id comes from what
the run depends on (analysis, version, options, seed, activations), so the same call finds the finished run and returns it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from workbench.analysis import CANNOT_MEASURE, Analysis, Context, Result, SiteAnalysis, find_analysis, reason
from workbench.engines import Engine, Local, find_engine
from workbench.errors import ConfigError, StudyError, WorkbenchError, disk_errors
from workbench.frames import records
from workbench.labelling import same_splits, splits_hash, with_asked
from workbench.paths import PARTIAL, child, inside, remove_tree
from workbench.processes import has_ended, identity, shareable
from workbench.progress import Progress, part_of, silent
from workbench.seeds import check_seed
from workbench.shapes import parse_json
from workbench.store import tables
from workbench.store.runs import Run, seal, write_json
from workbench.store.unfinished import Unfinished

if TYPE_CHECKING:
    import pandas as pd

    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.store.inputs import Inputs
    from workbench.store.study import Study

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
PROFILE_ROWS = 60_000
CUT_OFF = "Its process ended before it was done, for instance because the memory was full or the machine was switched off."


def execute(
    study: Study,
    name: str,
    acts: ActivationSet,
    options: dict[str, Any],
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
    repeats: str = "",
    engine: str | Engine = "local",
    dataset: Dataset | None = None,
) -> Run:
    """Run an analysis over activations and record it, or return the finished run of the same call.

    ``dataset`` is the data of the activations with the labels to use; those that the study has for them now, when left out. Any
    further column of its table that an option names becomes a label of the run. ``repeats`` is the run that this one repeats: it
    is then a run of its own, whatever is there. ``engine`` is who does it, which changes nothing of what is found.

    Raises:
        UnknownNameError: No analysis has that name.
        ConfigError: An option does not fit.
        WorkbenchError: What the analysis itself raised; the study is as it was.
    """
    study.require_writable("the study")
    analysis, does = find_analysis(name).configured(options), find_engine(engine)
    if not isinstance(does, Local) and not isinstance(analysis, SiteAnalysis):
        raise ConfigError(
            f"The analysis {name} is one piece of work, with nothing to share out to workers: use the engine local."
        )
    dataset = with_asked(study.dataset_of(acts) if dataset is None else dataset, analysis.labels_asked())
    config = parse_json(analysis.model_dump_json(), numbers=False)
    inputs = {
        "activations": acts.id,
        "sites": [str(s) for s in acts.sites],
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "model": study.model_record()["name"],
        "weights_hash": study.model_record()["weights_hash"],
    }
    key = {"analysis": name, "version": analysis.version, "config": config, "seed": seed, "inputs": inputs}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]
    # Recorded, and no part of the key: what an analysis that reads no labels depends on of the data besides the examples.
    inputs["splits_hash"] = splits_hash(dataset)
    if not (analysis.reads_labels or force or repeats) and (same := same_splits(study, f"{name}-{digest}", key, inputs)):
        return same
    if force or repeats or (found := study.catalog.run(f"{name}-{digest}")) is None or found["status"] != "done":
        check_seed(seed)
        analysis.check(acts, dataset, seed)
    study.keep_dataset(dataset)
    unfinished = Unfinished(inside(study.folder, "cache", "unfinished", f"{name}-{digest}"))
    # A repetition shows what comes out when everything is done again.
    kept = {} if repeats else {"once": unfinished.once}

    def work() -> Result:
        return analysis.run(
            Context(
                acts,
                dataset,
                seed,
                progress,
                model=lambda: study.model_for(progress),
                readout=lambda: study.readout(dataset, progress=progress),
                gradients=lambda sites, labels, count: study.gradients(dataset, sites, labels, count, acts.positions, progress),
                engine=does,
                remote=study.remote.url if study.remote else "",
                **kept,
            )
        )

    def fill(folder: Path, result: Result) -> None:
        _write_result(folder, result, acts, dataset, study, progress)

    force, made = force or bool(repeats), {"version": analysis.version} | ({"repeats": repeats} if repeats else {})
    done = record_run(study, f"{name}-{digest}", analysis.name, config, seed, inputs, work, fill, force, analysis, made=made)
    unfinished.clear()
    return done


def record_run(
    study: Study,
    run_id: str,
    analysis_name: str,
    config: dict[str, Any],
    seed: int,
    inputs: dict[str, Any],
    work: Callable[[], Result],
    fill: Callable[[Path, Result], None],
    force: bool = False,
    analysis: Analysis | None = None,
    evidence: Sequence[dict[str, Any]] = (),
    made: dict[str, Any] | None = None,
) -> Run:
    """Do a piece of work as a run: timed, measured, written whole or not at all.

    ``evidence`` is read when the work is done: rows that enter the catalog with the run. ``made`` adds to the run's provenance.
    """
    check_seed(seed)
    study.require_writable("the study")
    sweep(study)
    base, attempt = run_id, 1
    while (found := study.catalog.run(run_id)) is not None:
        if found["status"] == "done" and not force and not found["provenance"].get("repeats"):
            return Run(study, found)
        attempt += 1
        run_id = f"{base}-{attempt}"
    started = time.monotonic()
    record: dict[str, Any] = {
        "id": run_id, "analysis": analysis_name, "status": "running", "config": config, "seed": seed, "inputs": inputs,
        "provenance": provenance() | (made or {}), "started": tables.now("milliseconds"), "seconds": None, "peak_mib": None,
        "error": None,
    }  # fmt: skip
    home, partial = inside(study.folder, "runs", run_id), inside(study.folder, "runs", f"{run_id}{PARTIAL}")
    study.catalog.insert(tables.runs, [record])
    try:
        with peak_memory() as peak, disk_errors(f"run {run_id}"):
            partial.mkdir(parents=True)
            result = work()
            fill(partial, result)
            # This file is shared with the run. Which process it is only matters while it runs, and the catalog has that.
            write_json(partial / "config.json", record | {"provenance": shareable(record["provenance"])})
            seal(partial)
            partial.rename(home)
        seconds = time.monotonic() - started
        concepts, names = _concept_rows(run_id, result, analysis)
        shown = [{c: row.get(c) for c in tables.EVIDENCE_COLUMNS} | {"run": run_id} for row in evidence]
        # With what the work has found out about its inputs.
        ended = {"status": "done", "inputs": inputs, "seconds": seconds, "peak_mib": peak()}
        study.catalog.finish_run(run_id, concepts, names, shown, **ended)
    except BaseException as error:
        undo_run(study, run_id)
        cancelled = isinstance(error, KeyboardInterrupt | SystemExit)
        _note_end(study, run_id, "cancelled" if cancelled else "failed", error, time.monotonic() - started)
        raise
    if study.remote:
        study.remote.put_texts()
        study.remote.put("runs", run_id)
    found = study.catalog.run(run_id)
    assert found is not None
    return Run(study, found)


def undo_run(study: Study, run_id: str) -> None:
    """Remove what a run that did not end well has left: its files, and concepts that it had already entered."""
    for name in (f"{run_id}{PARTIAL}", run_id):
        # What is called as no run is has no files here, and a link is none of the run's.
        with suppress(StudyError):
            remove_tree(inside(study.folder, "runs", name), ignore_errors=True)
    with suppress(WorkbenchError, OSError):
        study.catalog.remove_concepts(run_id)


def sweep(study: Study, status: str = "failed", why: str = CUT_OFF) -> list[str]:
    """Record the runs whose process has ended without a word as ended, and remove what they left half done."""
    running = study.runs("running")
    swept = []
    for row in records(running):
        if has_ended(row["provenance"].get("process", {})):
            undo_run(study, str(row["id"]))
            study.catalog.update_run(row["id"], status=status, error=why)
            swept.append(str(row["id"]))
    return swept


def _note_end(study: Study, run_id: str, status: str, error: BaseException, seconds: float) -> None:
    text = "It was stopped before it was done." if status == "cancelled" else reason(error)
    try:
        study.catalog.update_run(run_id, status=status, error=text, seconds=seconds)
    except (WorkbenchError, OSError):
        # With a full disk even this row may not fit; the original error is the one to show.
        return


def _write_result(folder: Path, result: Result, acts: ActivationSet, dataset: Dataset, study: Study, progress: Progress) -> None:
    import pandas as pd
    from safetensors.torch import save_file

    (folder / "tables").mkdir()
    if result.concepts:
        result.tables |= profile_tables(result, acts, dataset, study, progress)
    if result.metrics is not None:
        result.tables["metrics"] = pd.DataFrame(result.metrics)
    for number, concept_set in enumerate(result.concepts):
        concept_set.save(child(folder / "concepts", str(number)))
    for name, table in result.tables.items():
        table.to_parquet(child(folder / "tables", f"{name}.parquet"), index=False, compression="zstd")
    if result.tensors:
        save_file({k: v.contiguous() for k, v in result.tensors.items()}, folder / "tensors.safetensors")
    for name, figure in result.figures.items():
        (folder / "figures").mkdir(exist_ok=True)
        child(folder / "figures", f"{name}.json").write_text(figure.to_json())


def profile_tables(result: Result, acts: ActivationSet, dataset: Dataset, study: Study, progress: Progress) -> dict[str, Any]:
    """Summary, examples and histogram of every concept, from rows that are not in the test split.

    Names come from these examples, so the examples on which names are scored must not be among them.
    """
    import pandas as pd

    from workbench.profiles import profile

    held_out = dataset.table["split"].eq("test").to_numpy()
    example = acts.index["example"].to_numpy()
    rows = np.flatnonzero(~held_out[example])
    if len(rows) > PROFILE_ROWS:
        chosen = np.random.default_rng(0).permutation(np.unique(example[rows]))
        kept = chosen[: max(1, int(len(chosen) * PROFILE_ROWS / len(rows)))]
        rows = rows[np.isin(example[rows], kept)]
    parts, first = [], 0
    total = len(rows) * len(result.concepts)
    for done, concept_set in enumerate(result.concepts):
        show = part_of(progress, done * len(rows), total)
        parts.append(profile(concept_set, acts.at(concept_set.site), rows, first, progress=show))
        first += len(concept_set)
    progress(total, total, "examples and histograms of concepts")
    return _token_tables(result, acts, rows, study, progress) | {
        "summary": pd.concat([p.summary for p in parts]),
        "examples": pd.concat([p.examples for p in parts]),
        "histogram": pd.concat([p.histogram for p in parts]),
    }


def _token_tables(
    result: Result, acts: ActivationSet, rows: np.ndarray, study: Study, progress: Progress
) -> dict[str, pd.DataFrame]:
    """The tables that need the model; where it cannot be had, the table ``failed`` with the reason, and the run is kept."""
    import pandas as pd

    from workbench.tokens import token_tables

    try:
        return token_tables(result.concepts, acts, rows, study, progress)
    except CANNOT_MEASURE as error:
        return {"failed": pd.DataFrame([{"what": "tokens of the concepts", "error": reason(error)}])}


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
                text = label.split(":", 1)[1] if label.startswith(("token:", "region:")) else label.replace("=", ": ")
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
        # Tells a run that is still running from one whose process was killed.
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


def require_same_model(study: Inputs, described: dict[str, Any]) -> None:
    """A study holds one model: refuse another.

    Raises:
        StudyError: The weights differ from those that the study was made with.
    """
    record = study.known_model()
    if record is None:
        study.catalog.set_info("model", json.dumps(described))
        return
    if record["weights_hash"] != described["weights_hash"]:
        raise StudyError(
            f"Study '{study.name}' was made with the model {weights_text(record)}, not with {weights_text(described)}. Open"
            " another study for it."
        )


def weights_text(described: dict[str, Any]) -> str:
    """Name, weights and type of a model that `Model.describe` describes, for a sentence that tells two apart."""
    dtype = dict(described.get("source", {})).get("dtype", "float32")
    return f"'{described['name']}' in {dtype} (weights {described['weights_hash'][:8]})"
