"""A finished run, as it lies on disk: configuration, concept sets, fitted edits, tables, tensors, figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.errors import DataError, NotInstalledError, StudyError, UnknownNameError
from workbench.frames import records
from workbench.numbers import counted
from workbench.parquet import database, read_parquet
from workbench.paths import child, files_below, inside, named, printable, require_plain, shown, walk
from workbench.shapes import ShapeError, read_tensors, reading, shaped
from workbench.store.kinds import MADE, require_kinds
from workbench.store.members import in_run
from workbench.store.parts import PartsOf
from workbench.store.run_kinds import COMPARISON, of_analyses

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

    from workbench.concepts import ConceptSet, Graph, Head
    from workbench.concepts.concept_set import Header
    from workbench.edits.stored import FittedEdits
    from workbench.evidence.compare import Comparison
    from workbench.models.small import SmallModel
    from workbench.store.concept_list import BoundConcepts
    from workbench.store.stored_study import StoredStudy
    from workbench.study import Study
    from workbench.views import View

CHECKSUMS, VIEWS = "checksums.json", "views.json"
SKIPPED_TOLD = 3
"""Of labels that were skipped, how many are named in a run's remarks."""
VERIFY = "`workbench study verify` says what is damaged."


class Run:
    """One run of an analysis.

    Attributes:
        id: Also the folder's name under ``runs/``.
        record: What the catalog says: analysis, configuration, seed, inputs, provenance, duration, peak memory.
    """

    def __init__(self, study: Study, record: dict[str, Any]) -> None:
        self.study = study
        self.record = record
        self.id = str(record["id"])
        self.folder = inside(study.folder, "runs", self.id)
        if record["status"] == "done" and study.remote:
            study.remote.fetch_run(self.id)
        if record["status"] == "done" and not self.folder.is_dir():
            raise StudyError(f"The folder of run {self.id} is missing; run the analysis again with force=True.")
        require_plain(self.folder)

    @property
    def analysis(self) -> str:
        """Name of the analysis."""
        return str(self.record["analysis"])

    @property
    def config(self) -> dict[str, Any]:
        """Its options, by the names that they have now."""
        from workbench.registry import migrated

        return migrated(self.analysis, self.record["config"])

    @property
    def arguments(self) -> dict[str, Any]:
        """Its options, and by name the ids of what it read besides its activations: what ``study.run`` was given."""
        read: dict[str, Any] = self.record["inputs"].get("read", {})
        return self.config | read

    @cached_property
    def sets(self) -> list[ConceptSet]:
        """The concept sets, one a site, in numbering order.

        Raises:
            NotInstalledError: They are of a kind that is not installed here.
            StudyError: They cannot be read.
        """
        from workbench.concepts import ConceptSet

        return [ConceptSet.load(folder) for folder in self._set_folders()]

    @cached_property
    def set_headers(self) -> list[Header]:
        """What the concept sets say of themselves, whether their kinds are installed here or not."""
        from workbench.concepts.concept_set import read_header

        return [read_header(folder) for folder in self._set_folders()]

    @cached_property
    def labels(self) -> list[str]:
        """The label that each concept was fitted to, in numbering order; empty for those that were discovered."""
        from workbench.concepts.concept_set import TABLE_FILE

        found: list[str] = []
        for folder in self._set_folders():
            found += read_parquet(folder / TABLE_FILE)["label"].tolist()
        return found

    @property
    def not_installed(self) -> str:
        """Why the concepts can be listed here and not read: they are of a kind that is not installed; empty where they can."""
        from workbench.concepts.kinds import SETS

        try:
            for header in self.set_headers:
                SETS.find(header.kind, header.package)
        except NotInstalledError as error:
            return str(error)
        return ""

    @cached_property
    def edits(self) -> FittedEdits:
        """The fitted edits of the run, by name: ``model.edited(run.edits["eraser"])``. Each is read when it is asked for.

        Raises:
            NotInstalledError: The edit that is asked for is of a kind that is not installed here.
            StudyError: It cannot be read.
        """
        from workbench.edits.stored import FittedEdits

        return FittedEdits(self.folder / "edits", self.id)

    def _skipped(self) -> list[str]:
        """Which labels were not fitted, with the reasons of the first few."""
        if "skipped" not in self.tables:
            return []
        reasons = self.tables["skipped"]["reason"].tolist()
        more = len(reasons) - SKIPPED_TOLD
        found = [f"Skipped: {reason}." for reason in reasons[:SKIPPED_TOLD]]
        return [*found, f"Skipped: {counted(more, 'more label')}, see the table 'skipped'."] if more > 0 else found

    def _set_folders(self) -> list[Path]:
        return sorted((f for f in (self.folder / "concepts").glob("*") if f.name.isdecimal()), key=lambda f: int(f.name))

    @cached_property
    def concepts(self) -> BoundConcepts:
        """All the concepts of the run, with their names and evidence."""
        from workbench.store.concept_list import BoundConcepts

        return BoundConcepts(self)

    @cached_property
    def tables(self) -> Tables:
        """The run's tables, by name: ``run.tables["metrics"]``."""
        return Tables(self.folder / "tables")

    @property
    def own_tables(self) -> list[str]:
        """The names of the tables that the analysis returned, besides those that the workbench makes of every run."""
        return [name for name in self.tables if name not in MADE]

    @property
    def metrics(self) -> pd.DataFrame:
        """The analysis's own metrics."""
        return self.tables["metrics"] if "metrics" in self.tables else pd.DataFrame(columns=["metric", "value"])

    @property
    def remarks(self) -> list[str]:
        """Sentences to read beside the run's numbers: what could not be measured and why, and notes on measurements."""
        from workbench.registry import declared_metrics

        titles = {metric.key: metric.title for metric in declared_metrics(self.analysis)}
        table = self.metrics.reindex(columns=["metric", "site", "status", "error", "note"]).fillna("")
        where: dict[tuple[str, str], list[str]] = {}
        for row in records(table[table["status"].eq("failed") | table["note"].ne("")]):
            what_happened = f" could not be measured: {row['error']}" if row["status"] == "failed" else f": {row['note']}"
            where.setdefault((titles.get(row["metric"], row["metric"]), what_happened), []).append(str(row["site"]))
        found = self._skipped()
        for (what, what_happened), sites in where.items():
            at = ", ".join(filter(None, dict.fromkeys(sites)))
            found.append(what + (f" at {at}" if at else "") + what_happened)
        failed = records(self.tables["failed"]) if "failed" in self.tables else []
        found += [f"The {row['what']} could not be made: {row['error']}" for row in failed]
        if under := self.record["inputs"].get("under"):
            found.insert(0, f"Its activations were captured under {printable(str(under))}.")
        found += [self.edits.not_installed] if self.edits.not_installed else []
        return list(dict.fromkeys(found))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The run's tensors, by name."""
        path = self.folder / "tensors.safetensors"
        return read_tensors(path, VERIFY) if path.exists() else {}

    @cached_property
    def figures(self) -> Figures:
        """The run's figures, by name."""
        return Figures(self.folder / "figures")

    @cached_property
    def graphs(self) -> PartsOf[Graph]:
        """The run's graphs, by name."""
        from workbench.concepts import Graph

        return PartsOf(self.folder / "graphs", "graph", Graph.load)

    @cached_property
    def heads(self) -> PartsOf[Head]:
        """The run's heads, by name."""
        from workbench.concepts import Head

        return PartsOf(self.folder / "heads", "head", Head.load)

    @cached_property
    def models(self) -> PartsOf[SmallModel]:
        """The small models that the run trained, by name."""
        from workbench.models.small import SmallModel

        return PartsOf(self.folder / "models", "model", SmallModel.load)

    @cached_property
    def views(self) -> list[View]:
        """How the run's parts are shown; see `workbench.views`.

        Raises:
            StudyError: They cannot be read.
        """
        from workbench.views import read_views

        return read_views(self.folder / VIEWS) if (self.folder / VIEWS).exists() else []

    def compare(self, other: Run) -> Comparison:
        """This run and another side by side; see :func:`workbench.evidence.compare.compare_runs`."""
        return self.study.compare(self, other)

    def locate(self, number: int) -> tuple[ConceptSet, int]:
        """The concept set that holds the concept of a number, and its column in that set."""
        first = 0
        for concept_set in self.sets:
            if number < first + len(concept_set):
                return concept_set, number - first
            first += len(concept_set)
        raise UnknownNameError("concept", f"{self.id}.{number}", [])

    def __repr__(self) -> str:
        seconds = self.record.get("seconds")
        took = f", {seconds:.0f} s" if seconds is not None else ""
        count = sum(len(s) for s in self.sets) if self.record["status"] == "done" else 0
        edits = f", {counted(len(self.edits), 'fitted edit')}" if len(self.edits) else ""
        return f"<Run {self.id}: {counted(count, 'concept')}{edits}, {self.record['status']}{took}>"


class Figures(Mapping[str, "Figure"]):
    """Figures of a run, read when accessed. A damaged figure, or one that would load something from the network, raises
    DataError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(named(path.with_suffix(""), self.folder) for path in self.folder.glob("*.json")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Figure:
        from workbench.plots import read_figure_file

        if name not in set(self):
            raise UnknownNameError("figure", name, self)
        return read_figure_file(child(self.folder, f"{name}.json"))

    def __repr__(self) -> str:
        return f"<Figures: {', '.join(self) or 'none'}>"


class Tables:
    """Parquet tables of a run, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def __iter__(self) -> Any:
        return iter(sorted(named(path.with_suffix(""), self.folder) for path in self.folder.glob("*.parquet")))

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in set(self):
            raise UnknownNameError("table", name, self)
        return require_kinds(name, read_parquet(child(self.folder, f"{name}.parquet")), self.folder.parent.name)

    def where(self, name: str, condition: str, values: list[Any]) -> pd.DataFrame:
        """Rows of a table by a DuckDB condition with ``?`` for values, without reading the rest."""
        if name not in set(self):
            raise UnknownNameError("table", name, self)
        path = escape(str(child(self.folder, f"{name}.parquet")))
        run = self.folder.parent.name
        with reading(f"The table '{name}' of the run {run}", "`workbench study repair` drops it.", DataError):
            with database().cursor() as cursor:
                # The path is the user's own; the condition is a constant of ours, and its values are bound.
                found = cursor.execute(f"select * from read_parquet(?) where {condition}", [path, *values]).df()
            return require_kinds(name, found, run)

    def first(self, name: str, count: int) -> tuple[pd.DataFrame, bool]:
        """The first rows of a table, and whether there are more."""
        found = self.where(name, "true limit ?", [count + 1])
        return found.head(count), len(found) > count

    def __repr__(self) -> str:
        return f"<Tables: {', '.join(self) or 'none'}>"


def seal(folder: Path) -> None:
    """Write the SHA-256 of every file of a finished run, and flush all files to the disk."""
    from workbench.activations.checksums import sha256_of, sync

    files = list(files_below(folder))
    write_json(folder / CHECKSUMS, {path.relative_to(folder).as_posix(): sha256_of(path) for path in files})
    for root, _, names in walk(folder):
        for path in [*(root / name for name in names), root]:
            sync(path)


def parse_sums(text: bytes) -> dict[str, str]:
    """Parse a checksum file from elsewhere. `StudyError` when it is invalid."""
    try:
        sums = shaped(text, dict[str, str])
    except ShapeError as error:
        raise StudyError(f"It cannot be read: {error}.") from None
    # Names must not lead outside the run's folder.
    if strange := next((file for file in sums if not in_run(file)), None):
        raise StudyError(f"It cannot be read: it names {shown(strange)}, which is no file of a run.")
    return sums


def find_run(study: StoredStudy, identifier: str) -> dict[str, Any]:
    """The record of a run by its id or the first characters of it; see :meth:`Study.get_run`."""
    every = study.runs(status=None)
    found = every[every["id"].eq(identifier)]
    if found.empty:
        found = every[every["id"].str.startswith(identifier) & every["status"].eq("done")]
    if found.empty:
        raise UnknownNameError("run", identifier, every["id"])
    # The newest match; originals come before repetitions, and lower seeds before replicas with higher ones.
    order = found.assign(original=~repetitions(found)).sort_values(
        ["original", "seed", "started"], ascending=[True, False, True], kind="stable"
    )
    return records(order.drop(columns="original"))[-1]


def first_id(run: str) -> str:
    """The id of a run without the ``-2``, ``-3`` and so on that further attempts get at the end."""
    name, _, number = run.rpartition("-")
    return name if number.isdecimal() and len(number) < 8 else run


def repetitions(runs: pd.DataFrame) -> pd.Series:
    """Which of the runs were made to repeat another one."""
    return pd.Series([bool(facts.get("repeats")) for facts in runs["provenance"]], runs.index, dtype=bool)


def newest_comparison(study: StoredStudy) -> tuple[str | None, bool]:
    """The id of the newest stored comparison of methods, or None, and whether there are newer runs. Nothing is computed."""
    runs = study.runs()
    runs = runs[~repetitions(runs)]
    compared = runs[runs["analysis"].eq(COMPARISON)]
    if compared.empty:
        return None, False
    newest = compared.iloc[-1]
    later = runs[of_analyses(runs) & runs["started"].gt(newest["started"])]
    return str(newest["id"]), len(later) > 0


def write_json(path: Path, value: Any) -> None:
    """Write JSON for a person to read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, default=str))
