"""How an analysis is executed, and its runs are reused.

The id of a run is a hash of what it depends on (analysis, version, options, seed, activations), so the same call finds the
finished run and returns it. `workbench.recording` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.analysis import CANNOT_MEASURE, Context, Result, SiteAnalysis, find_analysis, reason
from workbench.analysis.checking import check_sites, checked
from workbench.analysis.inputs import Inputs, find_inputs
from workbench.engines import Engine, Local, find_engine
from workbench.errors import ConfigError
from workbench.frames import records
from workbench.labelling import same_splits, splits_hash, with_asked
from workbench.paths import PARTIAL, child, inside
from workbench.progress import Progress, part_of, silent
from workbench.recording import RunRequest, record_run
from workbench.seeds import check_seed
from workbench.shapes import parse_json, reading
from workbench.store.capturing import capture_for_run
from workbench.store.edited import require_unedited
from workbench.store.own_evidence import entry, own_evidence
from workbench.store.parts import PARTS
from workbench.store.runs import VIEWS, Run
from workbench.store.unfinished import Unfinished
from workbench.views import save_views

if TYPE_CHECKING:
    import pandas as pd

    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.study import Study

PROFILE_ROWS = 60_000


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
    further column of its table that an option names becomes a label of the run. ``options`` are those of the analysis, and its
    inputs by name. ``repeats`` is the run that this one repeats: it
    is then a run of its own, whatever is there. ``engine`` runs the work of each site and does not change the results.

    Raises:
        UnknownNameError: No analysis has that name.
        ConfigError: An option does not fit.
        WorkbenchError: What the analysis itself raised; the study is as it was.
    """
    study.require_writable("the study")
    kind, workers = find_analysis(name), find_engine(engine)
    own, given = kind.split_options(options)
    analysis = kind.configured(own)
    if not isinstance(workers, Local) and not isinstance(analysis, SiteAnalysis):
        raise ConfigError(
            f"The analysis {name} is one piece of work, with nothing to share out to workers: use the engine local."
        )
    dataset = with_asked(study.dataset_of(acts) if dataset is None else dataset, analysis.labels_asked())
    config = parse_json(analysis.model_dump_json(), numbers=False)
    read = find_inputs(study, name, kind.inputs, given)
    inputs = _inputs(study, acts, dataset, read)
    key = {"analysis": name, "version": analysis.version, "config": config, "seed": seed, "inputs": inputs}
    run_id = f"{name}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]}"
    # Recorded but not part of the key: analyses that read no labels depend on splits and groups besides the examples.
    inputs["splits_hash"] = splits_hash(dataset)
    if acts.under:
        inputs["under"] = acts.under
    if not (analysis.reads_labels or force or repeats) and (same := same_splits(study, run_id, key, inputs)):
        return same
    if force or repeats or (found := study.catalog.run(run_id)) is None or found["status"] != "done":
        check_seed(seed)
        check_sites(analysis, acts)
        analysis.check(acts, dataset, seed)
    study.keep_dataset(dataset)
    unfinished = Unfinished(inside(study.folder, "cache", "unfinished", run_id))
    context = _context(study, acts, dataset, seed, progress, workers)
    context.inputs = read.values
    context.capture = partial(capture_for_run, child(unfinished.folder, "captured"), dataset, progress)
    if not repeats:
        # A repetition computes everything again.
        context.once = unfinished.once
    facts = {"version": analysis.version} | ({"repeats": repeats} if repeats else {})
    evidence: list[dict[str, Any]] = []

    def fill(folder: Path, result: Result) -> None:
        if result.evidence is not None and len(result.evidence):
            run = folder.name.removesuffix(PARTIAL)
            table = own_evidence(result.evidence, run, dataset.name)
            with reading(f"What {analysis.name} returned as evidence", error=ConfigError):
                evidence.extend(entry(row | {"run": run}) for row in records(table))
            result.tables["evidence"] = table
        _write_result(folder, result, acts, dataset, study, progress)

    done = record_run(
        study,
        RunRequest(run_id, analysis.name, config, seed, inputs, facts, force or bool(repeats)),
        work=lambda: checked(analysis, analysis.run(context), acts),
        fill=fill,
        analysis=analysis,
        evidence=evidence,
    )
    unfinished.clear()
    return done


def _inputs(study: Study, acts: ActivationSet, dataset: Dataset, read: Inputs) -> dict[str, Any]:
    model = study.model_record()
    others = {"read": read.recorded, "parents": list(dict.fromkeys([acts.id, *read.parents]))} if read.recorded else {}
    return others | {
        "activations": acts.id,
        "sites": [str(s) for s in acts.sites],
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "model": model["name"],
        "weights_hash": model["weights_hash"],
    }


def _context(study: Study, acts: ActivationSet, dataset: Dataset, seed: int, progress: Progress, engine: Engine) -> Context:
    def unedited(work: Callable[..., Any]) -> Callable[..., Any]:
        def checked_first(*asked: Any) -> Any:
            require_unedited(acts, "this reads the model")
            return work(*asked)

        return checked_first

    return Context(
        acts,
        dataset,
        seed,
        progress,
        model=unedited(lambda: study.model_for(progress)),
        readout=unedited(lambda: study.readout(dataset, progress=progress)),
        gradients=unedited(lambda sites, labels, count: study.gradients(dataset, sites, labels, count, acts.positions, progress)),
        engine=engine,
        remote=study.remote.url if study.remote else "",
    )


def _write_result(folder: Path, result: Result, acts: ActivationSet, dataset: Dataset, study: Study, progress: Progress) -> None:
    import pandas as pd
    import pyarrow as pa
    from safetensors.torch import save_file

    from workbench.edits.stored import save_edit

    (folder / "tables").mkdir()
    if result.concepts:
        result.tables |= profile_tables(result, acts, dataset, study, progress)
    if result.metrics is not None:
        result.tables["metrics"] = pd.DataFrame(result.metrics)
    for number, concept_set in enumerate(result.concepts):
        concept_set.save(child(folder / "concepts", str(number)))
    for name, table in result.tables.items():
        path = child(folder / "tables", f"{name}.parquet")
        try:
            table.to_parquet(path, index=False, compression="zstd")
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ConfigError(f"The table '{name}' cannot be kept as Parquet: {error}") from error
    for name, edit in result.edits.items():
        save_edit(edit, folder / "edits", name)
    if result.tensors:
        save_file({k: v.contiguous() for k, v in result.tensors.items()}, folder / "tensors.safetensors")
    for kind in PARTS:
        for name, part in getattr(result, kind).items():
            part.save(child(folder, f"{kind}/{name}"))
    if result.views:
        save_views(result.views, folder / VIEWS)
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
        parts.append(profile(concept_set, acts, rows, first, progress=show))
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

    from workbench.tokens.tables import token_tables

    try:
        return token_tables(result.concepts, acts, rows, study, progress)
    except CANNOT_MEASURE as error:
        return {"failed": pd.DataFrame([{"what": "tokens of the concepts", "error": reason(error)}])}
