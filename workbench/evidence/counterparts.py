"""Counterparts: which concepts of different methods are one concept.

Two concepts at one site are compared by what they write (cosine of directions) and by when they are present (co-firing: the
correlation of their codes on held-out rows). Each has a null for the best of as many candidates: random directions for the
cosine, codes of other documents for co-firing (`workbench.evidence.cofiring`). A pair beyond both nulls is related; it is the
same concept when, besides, each is the other's best match (or both were fitted to one label) and the correlation is at least
one half.
"""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.analysis import Result
from workbench.concepts import ConceptSet
from workbench.evidence.cofiring import best_by_chance, cofiring
from workbench.evidence.held_out import codes, held_out, require_splits
from workbench.frames import records
from workbench.progress import Progress, shares, silent
from workbench.recording import RunRequest, record_run
from workbench.statistics.directions import isotropic_directions
from workbench.statistics.intervals import correlation_interval
from workbench.store.run_kinds import COMPARISON, of_analyses
from workbench.store.runs import Run, first_id, repetitions

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from workbench.study import Study

SAME_CORRELATION = 0.5
COLUMNS = (
    "concept", "other", "method", "other_method", "site", "cosine", "cosine_null_high", "cofiring", "cofiring_low",
    "cofiring_high", "cofiring_null_high", "same_label", "mutual", "verdict",
)  # fmt: skip


def counterparts(study: Study, *, max_rows: int = 10_000, seed: int = 0, progress: Progress = silent) -> pd.DataFrame:
    """Compare the concepts of the newest run of every method, site by site; kept, and made again when there are new runs.

    Returns:
        One row an ordered pair: ``concept, other, method, other_method, site, cosine, cosine_null_high, cofiring, cofiring_low,
        cofiring_high, cofiring_null_high, same_label, mutual, verdict``; the verdict is ``same``, ``related``, ``different``
        or, over fewer than eight documents, ``unknown``. Of each concept and other method the best match is listed, and the
        concept of the same label. The interval is one of 95% over documents; it is missing where an older version compared.
    """
    runs = _runs(study)
    if len(runs) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    require_splits(study.activation_set(runs[0].record["inputs"]["activations"]), study.dataset_for(runs[0]), "test")
    config = {"runs": [run.id for run in runs], "max_rows": max_rows}
    run_id = f"{COMPARISON}-{hashlib.sha256(json.dumps([config, seed]).encode()).hexdigest()[:8]}"
    record = _record(study, run_id, runs, max_rows, seed, progress)
    return record.tables["pairs"].reindex(columns=list(COLUMNS))


def compare_again(study: Study, first: Run, runs: list[Run], progress: Progress) -> Run:
    """Do a comparison again as a run of its own, on the same runs."""
    seed = int(first.record["seed"])
    return _record(study, first_id(first.id), runs, first.config["max_rows"], seed, progress, first.id)


def _record(study: Study, run_id: str, runs: list[Run], max_rows: int, seed: int, progress: Progress, repeats: str = "") -> Run:
    config = {"runs": [run.id for run in runs], "max_rows": max_rows}

    def work() -> Result:
        return Result(tables={"pairs": _compare(study, runs, max_rows, seed, progress)})

    facts = {"repeats": repeats} if repeats else {}
    return record_run(
        study, RunRequest(run_id, COMPARISON, config, seed, {"parents": config["runs"]}, facts, bool(repeats)), work, _write
    )


def families(study: Study, **options: Any) -> pd.DataFrame:
    """Concepts that are one concept: ``family, concept, method, site``; a family has concepts of two or more methods."""
    return families_of(counterparts(study, **options))


def families_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """The families that the pairs of :func:`counterparts` make: ``family, concept, method, site``."""
    same = pairs[pairs["verdict"].eq("same")]
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            item = parent[item]
        return item

    for a, b in zip(same["concept"], same["other"], strict=True):
        parent[root(a)] = root(b)
    rows = same.drop_duplicates("concept")[["concept", "method", "site"]]
    rows = rows.assign(family=[root(c) for c in rows["concept"]])
    order = {name: i for i, name in enumerate(dict.fromkeys(rows["family"]))}
    return rows.assign(family=rows["family"].map(order)).sort_values(["family", "method"]).reset_index(drop=True)


def _runs(study: Study) -> list[Run]:
    frame = study.runs()
    edited = {acts.id for acts in study.activations() if acts.edits}
    read = frame["inputs"].map(lambda inputs: inputs.get("activations"))
    frame = frame[of_analyses(frame) & ~repetitions(frame) & ~read.isin(edited)]
    # A run repeated with another seed is a replica for stability, not another method.
    newest = frame.sort_values(["seed", "started"], ascending=[True, False]).drop_duplicates("analysis")
    runs = [Run(study, row) for row in records(newest.sort_values("id"))]
    return [run for run in runs if run.set_headers and not run.not_installed]


def _compare(study: Study, runs: list[Run], max_rows: int, seed: int, progress: Progress) -> pd.DataFrame:
    acts = study.activation_set(runs[0].record["inputs"]["activations"])
    test = held_out(acts, study.dataset_for(runs[0]), "test", max_rows, seed)
    entries = []
    for run in runs:
        if run.record["inputs"]["activations"] != acts.id:
            continue
        first = 0
        for part in run.sets:
            entries.append((run, first, part))
            first += len(part)
    tables = []
    pairs = [(a, b) for a, b in combinations(entries, 2) if a[0].id != b[0].id and a[2].site == b[2].site]
    known: dict[int, Float[np.ndarray, "n c"]] = {}
    # What takes long is the co-firing of each with each.
    progresses = shares(progress, [len(a[2]) * len(b[2]) + len(a[2]) + len(b[2]) for a, b in pairs], "comparing concepts")
    for show, ((run_a, first_a, a), (run_b, first_b, b)) in zip(progresses, pairs, strict=True):
        for part in (a, b):
            if id(part) not in known:
                known[id(part)] = codes(part, test)
        whole = "example" in {a.level, b.level}
        za, zb = (test.means(known[id(p)]) if whole else known[id(p)] for p in (a, b))
        documents = test.documents if whole else test.clusters
        examples = np.arange(len(documents)) if whole else test.segment
        table = _pair_table(a, b, za, zb, examples, documents, seed, show)
        methods = [study.concept(f"{r.id}.{n}").method for r, n in ((run_a, first_a), (run_b, first_b))]
        table["concept"] = [f"{run_a.id}.{first_a + i}" for i in table["a"]]
        table["other"] = [f"{run_b.id}.{first_b + i}" for i in table["b"]]
        table["method"], table["other_method"], table["site"] = methods[0], methods[1], a.site
        flipped = table.rename(
            columns={
                "concept": "other",
                "other": "concept",
                "method": "other_method",
                "other_method": "method",
            }
        )
        flipped = flipped.assign(
            cosine_null_high=table["cosine_null_back"],
            cofiring_null_high=table["cofiring_null_back"],
            best_a=table["best_b"],
        )
        tables += [
            table[table["best_a"] | table["same_label"]],
            flipped[flipped["best_a"] | flipped["same_label"]],
        ]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def _pair_table(
    a: ConceptSet,
    b: ConceptSet,
    za: Float[np.ndarray, "n a"],
    zb: Float[np.ndarray, "n b"],
    examples: Int[np.ndarray, "n"],
    documents: Int[np.ndarray, "n"],
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    together = cofiring(za, zb)
    cosine = (a.directions() @ b.directions().T).numpy()
    label_a, label_b = a.table["label"].to_numpy(), b.table["label"].to_numpy()
    same_label = (label_a[:, None] == label_b[None, :]) & (label_a[:, None] != "")
    best_of_a, best_of_b = together.argmax(1), together.argmax(0)
    pairs = {(i, int(j)) for i, j in enumerate(best_of_a)} | {(int(i), j) for j, i in enumerate(best_of_b)}
    pairs |= {(int(i), int(j)) for i, j in zip(*np.nonzero(same_label), strict=True)}
    i, j = (np.array(side) for side in zip(*sorted(pairs), strict=True))
    random = isotropic_directions(500, a.width, seed)
    cosine_null = float((random @ b.directions().T).max(1).values.quantile(0.95))
    cosine_back = float((random @ a.directions().T).max(1).values.quantile(0.95))
    chance = best_by_chance(za, zb, examples, documents, seed, progress, a.site)
    _, (low, high) = correlation_interval(za[:, i], zb[:, j], documents)
    table = pd.DataFrame(
        {
            "a": i, "b": j, "cosine": cosine[i, j], "cosine_null_high": cosine_null, "cosine_null_back": cosine_back,
            "cofiring": together[i, j], "cofiring_low": low, "cofiring_high": high,
            "cofiring_null_high": chance.first[i], "cofiring_null_back": chance.second[j],
            "same_label": same_label[i, j], "best_a": best_of_a[i] == j, "best_b": best_of_b[j] == i,
        }
    )  # fmt: skip
    table["mutual"] = table["best_a"] & table["best_b"]
    # The null is for the best of all candidates of either concept.
    together_null = table[["cofiring_null_high", "cofiring_null_back"]].max(axis=1, skipna=False)
    beyond = (table["cosine"] > max(cosine_null, cosine_back)) & (table["cofiring"] > together_null)
    same = beyond & (table["mutual"] | table["same_label"]) & (table["cofiring"] >= SAME_CORRELATION)
    table["verdict"] = np.where(same, "same", np.where(beyond, "related", np.where(together_null.isna(), "unknown", "different")))
    return table


def _write(folder: Path, result: Result) -> None:
    (folder / "tables").mkdir()
    result.tables["pairs"].to_parquet(folder / "tables" / "pairs.parquet", index=False, compression="zstd")
