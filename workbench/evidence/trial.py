"""The trial: the same for every concept, whichever method found it.

An examination is a run of its own: it is recorded with its options and seed, its tables lie beside those of the analyses, and
its evidence rows enter the catalog.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.analysis import CANNOT_MEASURE, Result
from workbench.concepts import ConceptSet
from workbench.errors import ConfigError, DataError, UnknownNameError, WorkbenchWarning
from workbench.evidence.attempts import Found
from workbench.evidence.baselines import best_by_label
from workbench.evidence.corrections import correct
from workbench.evidence.detection import detect
from workbench.evidence.family import Tried, checked
from workbench.evidence.family import families as every_family
from workbench.evidence.held_out import HeldOut, held_out, require_splits
from workbench.evidence.metrics import QUESTIONS
from workbench.evidence.plan import MAX_ROWS, cannot_be_found
from workbench.evidence.replica import Place, by_place, find_replica
from workbench.frames import records
from workbench.paths import child
from workbench.progress import Progress, silent
from workbench.recording import RunRequest, record_run
from workbench.store import tables
from workbench.store.concept import Concept
from workbench.store.concept_list import BoundConcepts, ConceptList
from workbench.store.run_kinds import EXAMINATION, OF_OTHER_RUNS
from workbench.store.runs import Run, first_id
from workbench.store.tables import newest_names

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.study import Study

    Examined = ConceptList | Run | Concept | str | Sequence[Concept | str]

# 2: special tokens keep their activations while a concept is written.
# 3: doses are multiples of the deviation from the mean and found by what random directions cost; covariance-matched controls.
CAUSES_VERSION = 3


def examine(
    study: Study,
    concepts: Examined,
    dataset: Dataset | None = None,
    *,
    families: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    steer: int = 12,
    replicate: bool = True,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Put concepts on trial and keep the evidence.

    Args:
        study: The study.
        concepts: ``run.concepts``, a run, a concept, or several concepts of one run; a concept or its id.
        dataset: The data of the concepts' activations when left out; another one must have activations in the study.
        families: Which of ``detects, informs, locates, causes, stable, named``, and of those that were registered; all when left
            out.
        sites: Only the concepts at these sites.
        steer: How many concepts of a set get a measured dose-response curve, those that detect best first; all get a sensitivity.
        replicate: Run the analysis again with the next seed for stability, when no such run is there.
        max_rows: About how many rows of the test split.
        seed: Every random choice comes from it.
        force: Examine again although the same examination is there.
        progress: Called with ``(done, total, text)``.

    Returns:
        The evidence rows, with the concept's id.

    Raises:
        UnknownNameError: No such family or site.
        DataError: The captured examples hold no validation or test examples.
    """
    families = list(QUESTIONS if families is None else families)
    if not families:
        raise ConfigError(f"No family of evidence is asked for: choose from {', '.join(QUESTIONS)}.")
    for family in families:
        if family not in QUESTIONS:
            raise UnknownNameError("family of evidence", family, QUESTIONS)
    run, numbers = _chosen(study, concepts)
    acts, data = _tried_on(study, run, dataset)
    if {"detects", "informs"} & set(families) and (why := cannot_be_found(study, acts, len(run.concepts), max_rows, seed)):
        warnings.warn(why, WorkbenchWarning, stacklevel=2)
    places = None if sites is None else [str(site) for site in sites]
    options = TrialOptions(numbers, families, places, steer, replicate, max_rows)
    return Trial(study, run, acts, data, options, seed, progress).execute(force).tables["evidence"]


def _chosen(study: Study, concepts: Any) -> tuple[Run, list[int] | None]:
    if isinstance(concepts, Run):
        return concepts, None
    if isinstance(concepts, BoundConcepts):
        return concepts.run, None
    given = [concepts] if isinstance(concepts, Concept | str) else list(concepts)
    several = [study.concept(one) if isinstance(one, str) else one for one in given]
    if not several:
        raise ConfigError("There are no concepts to examine; run an analysis first.")
    runs = {c.run_id for c in several}
    if len(runs) > 1:
        raise ConfigError(f"Examine the concepts of one run at a time; these are of {', '.join(sorted(runs))}.")
    return study.get_run(several[0].run_id), sorted(c.number for c in several)


def _tried_on(study: Study, run: Run, dataset: Dataset | None) -> tuple[ActivationSet, Dataset]:
    if (read := run.record["inputs"].get("activations")) is None:
        raise ConfigError(f"The run {run.id} read no activations, so it has no concepts to examine.")
    acts = study.activation_set(read)
    if dataset is None:
        return acts, study.dataset_for(run)
    every = [acts, *reversed(study.activations())]
    of_it = (a for a in every if a.dataset_record["hash"] == dataset.hash or a.manifest.is_of(dataset))
    found = next((a for a in of_it if a.edits == acts.edits), None)
    if found is None:
        raise DataError(f"The study has no activations of '{dataset.name}'; capture them first, then examine on them.")
    study.keep_dataset(dataset)
    return found, dataset


def names_of(run: Run, names: pd.DataFrame) -> dict[str, str]:
    """The current names of a run's concepts, of the names of a study as far as they go."""
    mine = newest_names(names[names["concept"].str.startswith(f"{run.id}.")]) if len(names) else names
    return dict(zip(mine["concept"], mine["text"], strict=True))


def names_hash(names: dict[str, str]) -> str:
    """A hash of names by concept."""
    return hashlib.sha256(json.dumps(sorted(names.items())).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class TrialOptions:
    """What an examination is asked for, as the configuration of its run has it; see :func:`examine`.

    Attributes:
        numbers: Of the concepts, in their run; all when None.
    """

    numbers: list[int] | None
    families: list[str]
    sites: list[str] | None = None
    steer: int = 12
    replicate: bool = True
    max_rows: int = MAX_ROWS


class Trial:
    """One examination.

    Attributes:
        beside: The other runs that it reads: ``replica``, the one with another seed, or an empty text; ``watched``, those whose
            concepts are looked at while others are steered. Filled as it goes, where it is not given.
        names: The names of all concepts of the run, by id: a name is scored against the others, whichever concepts are examined.
    """

    def __init__(
        self, study: Study, run: Run, acts: ActivationSet, dataset: Dataset, options: TrialOptions, seed: int = 0,
        progress: Progress = silent, beside: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.study, self.run, self.acts, self.dataset = study, run, acts, dataset
        self.options, self.seed, self.progress = options, seed, progress
        self.beside = dict(beside or {})
        known = [s.site for s in run.sets]
        for site in options.sites or []:
            if site not in known:
                raise UnknownNameError(f"site of run {run.id}", site, known)
        self.names: dict[str, str] = {}

    def execute(self, force: bool = False, repeats: str = "", names: dict[str, str] | None = None) -> Run:
        """Do it, or return the finished run of the same examination.

        With ``repeats``, the id of the examination that this one repeats, it is done in any case, and the catalog keeps the
        evidence that it has: that of the repetition is in its own tables. ``names`` are scored instead of the current ones.
        """
        self._require()
        self.names = names = self._names() if names is None else names
        config = {"run": self.run.id, **asdict(self.options)}
        inputs: dict[str, Any] = {
            "activations": self.acts.id, "dataset": self.dataset.name, "dataset_hash": self.dataset.hash,
            "parents": [self.run.id], "names": names_hash(names),
        }  # fmt: skip
        version = {"causes": CAUSES_VERSION} if "causes" in self.options.families else {}
        key = json.dumps([config, inputs | version, self.seed], sort_keys=True)
        run_id = first_id(repeats) if repeats else f"{EXAMINATION}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        # Filled in while the work is done, and so no part of the key.
        inputs["beside"] = self.beside
        evidence: list[dict[str, Any]] = []

        def work() -> Result:
            result, rows = self._work(run_id)
            evidence.extend([] if repeats else rows)
            return result

        facts = {"repeats": repeats} if repeats else {}
        request = RunRequest(run_id, EXAMINATION, config, self.seed, inputs, facts, force or bool(repeats))
        return record_run(self.study, request, work, _write_tables, evidence=evidence)

    def _require(self) -> None:
        """Check that there are concepts to examine, and examples to examine them on, before anything is recorded."""
        places = [part.site for part in self.run.sets for _ in range(len(part))]
        numbers = range(len(places)) if self.options.numbers is None else self.options.numbers
        if not any(self.options.sites is None or places[number] in self.options.sites for number in numbers):
            raise ConfigError(f"Run {self.run.id} has no concepts to examine at these sites.")
        require_splits(self.acts, self.dataset, "validation", "test")

    def _names(self) -> dict[str, str]:
        return names_of(self.run, self.study.catalog.names()) if "named" in self.options.families else {}

    def _work(self, run_id: str) -> tuple[Result, list[dict[str, Any]]]:
        validation = held_out(self.acts, self.dataset, "validation", max(self.options.max_rows // 2, 500), self.seed)
        test = held_out(self.acts, self.dataset, "test", self.options.max_rows, self.seed)
        evidence: list[dict[str, Any]] = []
        found: dict[str, list[pd.DataFrame]] = {}
        first = 0
        for key, whole in by_place(self.run.sets).items():
            numbers = [
                n for n in range(first, first + len(whole)) if self.options.numbers is None or n in set(self.options.numbers)
            ]
            if numbers and (self.options.sites is None or whole.site in self.options.sites):
                part = whole if len(numbers) == len(whole) else whole.subset([n - first for n in numbers])
                ids = [f"{self.run.id}.{n}" for n in numbers]
                rows, extra = self._one_set(part, key, numbers, (validation, test))
                for row in rows:
                    row |= {"concept": ids[row.pop("place")], "dataset": self.dataset.name, "run": run_id}
                evidence += rows
                for name, table in extra.items():
                    bound = table.assign(site=whole.site, concept=[ids[p] for p in table["place"]])
                    found.setdefault(name, []).append(bound.drop(columns="place"))
            first += len(whole)
        correct(evidence, first)
        frame = pd.DataFrame(evidence).reindex(columns=tables.EVIDENCE_COLUMNS)
        return Result(tables={"evidence": frame} | {name: pd.concat(parts) for name, parts in found.items()}), evidence

    def _one_set(self, part: ConceptSet, key: Place, numbers: list[int], halves: tuple[HeldOut, HeldOut]) -> Found:
        """What each family of evidence says of a set, in their order."""
        found = detect(part, *halves, self.seed, self.progress)
        replicas, no_replica = self._replicas
        tried = Tried(
            study=self.study, run=self.run, acts=self.acts, dataset=self.dataset, concepts=part, numbers=numbers,
            whole=self.options.numbers is None,
            names=[self.names.get(f"{self.run.id}.{n}", "") for n in numbers], rivals=[*self.names.values()],
            validation=halves[0], test=halves[1], detection=found, replica=replicas.get(key),
            no_replica=no_replica, steered=self._steered(found.choice, found.matrix), watched=lambda: self._watched(part.site),
            once=self._once, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []
        made = {"curves": pd.DataFrame(columns=["place"]), "labels": best_by_label(found.matrix), "detection": found.matrix}
        for name, family in every_family().items():
            if name in self.options.families:
                more, tables_of = checked(family, family.measure(tried), len(part))
                rows, made = rows + more, made | tables_of
        self.progress(5, 5, f"trial at {part.site}")
        return rows, made

    def _watched(self, site: str) -> list[tuple[ConceptSet, list[str]]]:
        """Every set at a site, with its concepts' ids."""
        if "watched" not in self.beside:
            self.beside["watched"] = self._to_watch()
        found: list[tuple[ConceptSet, list[str]]] = []
        for run in map(self.study.get_run, self.beside["watched"]):
            first = 0
            for concepts in run.sets:
                if concepts.site == site and concepts.level == "token":
                    found.append((concepts, [f"{run.id}.{n}" for n in range(first, first + len(concepts))]))
                first += len(concepts)
        return found

    def _to_watch(self) -> list[str]:
        """The runs of analyses; not those repeated with another seed."""
        found: list[str] = []
        kept: set[str] = set()
        for row in records(self.study.runs()):
            what = json.dumps([row["analysis"], row["config"], {**row["inputs"], "sites": None}], sort_keys=True)
            if row["analysis"] not in OF_OTHER_RUNS and what not in kept:
                kept.add(what)
                found.append(row["id"])
        return [run for run in found if not self.study.get_run(run).not_installed]

    def _once(self, what: tuple[Any, ...], measure: Callable[[], Any]) -> Any:
        key = (*what, self.acts.id, self.seed)
        if key not in self.study.shared:
            self.study.shared[key] = measure()
        return self.study.shared[key]

    def _steered(self, choice: list[str], matrix: pd.DataFrame) -> list[int]:
        if self.options.numbers is not None:
            return list(range(len(choice)))
        own = matrix[[choice[p] == label for p, label in zip(matrix["place"], matrix["label"], strict=True)]]
        # One concept a label first, so that the curves are not twelve copies of the easiest label.
        own = own.dropna().sort_values("validation", ascending=False)
        own = own.assign(turn=own.groupby("label").cumcount()).sort_values(["turn", "validation"], ascending=[True, False])
        return [int(p) for p in own["place"].head(self.options.steer)]

    @cached_property
    def _replicas(self) -> tuple[dict[Place, ConceptSet], Exception | None]:
        """The concept sets of a run with another seed, only at the sites on trial; or why there is none."""
        if "stable" not in self.options.families:
            return {}, None
        try:
            if "replica" not in self.beside:
                wanted = self.options.sites or list(dict.fromkeys(s.site for s in self.run.sets))
                self.beside["replica"] = find_replica(self.study, self.run, wanted, self.options.replicate, self.progress)
            found = self.beside["replica"]
            return (by_place(self.study.get_run(found).sets) if found else {}), None
        except CANNOT_MEASURE as error:
            return {}, error


def _write_tables(folder: Path, result: Result) -> None:
    (folder / "tables").mkdir()
    for name, table in result.tables.items():
        table.to_parquet(child(folder / "tables", f"{name}.parquet"), index=False, compression="zstd")
