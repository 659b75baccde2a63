"""A study: one folder with a catalog, activations and runs. Everything a script does starts here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import sqlalchemy as sa

from workbench.errors import UnknownNameError
from workbench.frames import records
from workbench.numbers import counted
from workbench.progress import Progress, silent
from workbench.store import tables
from workbench.store.runs import Run
from workbench.store.stored_study import StoredStudy

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.activations.manifest import Pool
    from workbench.datasets import Dataset
    from workbench.edits import Edit, Edits
    from workbench.embedding import Embedder
    from workbench.engines import Engine
    from workbench.evidence.compare import Comparison
    from workbench.evidence.doses import Doses
    from workbench.evidence.trial import Examined
    from workbench.models import Model, Site
    from workbench.readout import Readout
    from workbench.recipes import Recipe
    from workbench.repeating import Repetition
    from workbench.store.collections import Collections
    from workbench.store.concept import Concept
    from workbench.store.concept_list import BoundConcepts, ConceptList


class Study(StoredStudy):
    """A study on disk. Open one with :func:`open_study`.

    Attributes:
        folder: Its folder.
        name: The folder's name.
        catalog: The SQL catalog.
    """

    # Activations

    def capture(
        self,
        model: Model,
        dataset: Dataset,
        sites: str | Site | Sequence[str | Site],
        pool: Pool = "token",
        under: Edit | Edits | str | Sequence[Edit | str] = (),
        **options: Any,
    ) -> ActivationSet:
        """Capture activations of a model on a data set, go on where that was cut short, or open what was captured before.

        The examples decide what a capture is. With other labels, groups or splits of the same examples nothing is captured
        again, and from then on they are those of the study; :meth:`relabel` changes them without the model.

        Args:
            model: The model; a study holds one.
            dataset: The data.
            sites: Site names, with ``*`` for any layer.
            pool: ``token`` (or ``spatial`` for images), ``mean``, ``max`` or ``last``.
            options: Passed to :func:`workbench.activations.capture`: ``positions``, ``store_dtype``, ``batch_size``, ``limit``,
                ``seed``, ``sample_by``, ``max_disk``, ``engine``, ``progress``.
            under: An edit that the model runs under, or several in their order: ``run.edits["eraser"]``, ``concept.steer(6.0)``,
                or its name, as in ``"RUN/EDIT"`` and ``"CONCEPT=AMOUNT"`` (see :func:`workbench.store.edited.edit_called`). The
                set keeps which it was, and is another set than one without.

        Raises:
            StudyError: The study was made with another model.
            UnknownNameError: The model has no such site.
            DiskFullError: There is no room.
        """
        from workbench.store.capturing import capture_into
        from workbench.store.edited import chosen_edits

        return capture_into(self, model, dataset, sites, pool, under=chosen_edits(self, under), **options)

    def edits_of(self, acts: ActivationSet) -> Edits:
        """The edits that activations were captured under: ``model.edited(study.edits_of(acts))`` is the model that they are of.

        Raises:
            StudyError: What they are of is no more, or is not what it was.
        """
        from workbench.store.edited import edits_of

        return edits_of(self, acts)

    def import_activations(self, folder: str | Path, **options: Any) -> ActivationSet:
        """Import activations that something else made; see :func:`workbench.store.exchange.import_activations`."""
        from workbench.store.exchange import import_activations

        return self.kept(import_activations(self, Path(folder), **options))

    # Runs

    def run(
        self,
        analysis: str,
        acts: ActivationSet,
        *,
        seed: int = 0,
        force: bool = False,
        progress: Progress | None = None,
        engine: str | Engine = "local",
        **options: Any,
    ) -> Run:
        """Run an analysis on activations. The same call again returns the finished run.

        Args:
            analysis: Its name, such as ``linear_probe``; ``workbench analyses`` lists them.
            acts: What it reads; ``acts.at(site)`` for one site.
            seed: Every random choice comes from it.
            force: Run again although a finished run is there.
            progress: Called with ``(done, total, text)``.
            engine: Who does it: ``local``, this process, or ``ray``, workers that take a site each.
            options: The analysis's own, and what it reads besides: a run, its concepts, activations, data, or the id of one.

        Raises:
            UnknownNameError: No such analysis, or no such run or set among what it reads.
            ConfigError: An option does not fit.
        """
        from workbench.runner import execute

        return execute(self, analysis, acts, options, seed, force, progress or silent, engine=engine)

    def repeat(self, run: Run | str, tolerance: float = 0.0, progress: Progress | None = None) -> Repetition:
        """Repeat a run with its own configuration, and compare the results; see :mod:`workbench.repeating`."""
        from workbench.repeating import repeat

        return repeat(self, self.get_run(run) if isinstance(run, str) else run, tolerance, progress or silent)

    def edit_head(
        self, run: Run | str, head: str, weights: Mapping[str, Mapping[int | str, float]] | None = None,
        mask: Sequence[int | str] = (), force: bool = False,
    ) -> Run:  # fmt: skip
        """Edit a head of a run, and record that as a run of its own; see :func:`workbench.head_edits.edit_head`.

        Args:
            run: The run of the head.
            head: Its name.
            weights: Of each output that is changed, the new weight by concept: ``{"money": {17: 0.0}}``.
            mask: Concepts that no longer count for any output.
            force: Do it again although it is there.
        """
        from workbench.head_edits import edit_head

        return edit_head(self, self.get_run(run) if isinstance(run, str) else run, head, weights, mask, force)

    # Concepts and their evidence

    def concept(self, identifier: str) -> Concept:
        """A concept by its id (``linear_probe-1a2b3c4d.17``)."""
        from workbench.store.concept import Concept

        frame = self.catalog.frame(sa.select(tables.concepts).where(tables.concepts.c.id == identifier))
        if frame.empty:
            every = self.catalog.frame(tables.concepts_in_order().limit(2000))["id"]
            raise UnknownNameError("concept", identifier, every)
        return Concept(self, records(frame)[0])

    def concepts(self, query: str | None = None, **where: Any) -> ConceptList:
        """Find concepts.

        Args:
            query: Words to find by name, such as ``about money``; by meaning where a text encoder is at hand.
            where: ``method=``, ``run=``, ``site=``, ``label=``; ``fires_on=`` a text; ``limit=``.
        """
        from workbench.search import search

        return search(self, query, **where)

    def examine(self, concepts: Examined, dataset: Dataset | None = None, **options: Any) -> pd.DataFrame:
        """Put concepts on trial; see :func:`workbench.evidence.examine`."""
        from workbench.evidence import examine

        return examine(self, concepts, dataset, **options)

    def counterparts(self, **options: Any) -> pd.DataFrame:
        """Pairs of concepts of different methods at one site, with measures of whether they are the same."""
        from workbench.evidence.counterparts import counterparts

        return counterparts(self, **options)

    def families(self, **options: Any) -> pd.DataFrame:
        """Concepts that several methods found and that are one: ``family, concept, method, site``."""
        from workbench.evidence.counterparts import families

        return families(self, **options)

    def plan(self, acts: ActivationSet | None = None, **options: Any) -> pd.DataFrame:
        """What effects the labels of some activations' data can show; see `workbench.evidence.plan.plan`."""
        from workbench.evidence.plan import plan

        return plan(self, acts, **options)

    def compare(self, run: Run, other: Run) -> Comparison:
        """Two runs side by side; see :func:`workbench.evidence.compare.compare_runs`."""
        from workbench.evidence.compare import compare_runs

        return compare_runs(run, other)

    def name_concepts(
        self, concepts: BoundConcepts, vocabulary: str | list[str], progress: Progress | None = None, **options: Any
    ) -> pd.DataFrame:
        """Name the concepts of a run that were fitted to no label; see :func:`workbench.naming.name_concepts`."""
        from workbench.naming import name_concepts

        return name_concepts(concepts, vocabulary, progress=progress or silent, **options)

    def steered(self) -> pd.DataFrame:
        """Every concept that was steered, with effect, cost and verdict; see :mod:`workbench.evidence.steered`."""
        from workbench.evidence.steered import steered_concepts

        return steered_concepts(self)

    def readout(self, dataset: Dataset, **options: Any) -> Readout:
        """The frozen linear readout of the model's output for a data set's labels; fitted once, then kept."""
        from workbench.readout import study_readout

        return study_readout(self, dataset, **options)

    def gradients(
        self, dataset: Dataset, sites: Sequence[str], labels: Sequence[str], per_label: int = 30,
        positions: str = "content", progress: Any = None,
    ) -> dict[str, dict[str, Any]]:  # fmt: skip
        """Gradients of the readout's logits on held-out inputs, summed over the ``positions`` of each (see
        `workbench.conversations.POSITIONS`), ``{site: {label: [e, d]}}``; measured once a session."""
        from workbench.readout import study_gradients

        return study_gradients(self, dataset, sites, labels, per_label, positions, progress)

    def dose_unit(self, site: str | Site) -> float:
        """The root mean square distance of a site's activations from their mean, over a sample of captured rows: what a dose of 1
        adds. Measured once.

        A few rows far from all others, such as attention sinks, are left out; in a packed study the model reads some texts again.

        Raises:
            UnknownNameError: No activations of that site were captured.
        """
        from workbench.evidence.model_statistics import dose_unit

        return dose_unit(self, str(site))

    def doses(self, site: str | Site) -> Doses | None:
        """The doses at which random directions cost about 1, 3 and 10%, as the newest examination of a site found them;
        None where nothing was steered there."""
        from workbench.evidence.model_statistics import doses_of

        return doses_of(self, str(site))

    def typical_norm(self, site: str | Site) -> float:
        """The mean norm of an activation at a site: the unit of the doses of evidence before `causes.push`. Measured once.

        Raises:
            UnknownNameError: No activations of that site were captured.
        """
        from workbench.evidence.model_statistics import typical_norm

        return typical_norm(self, str(site))

    # Interventions

    def keep_recipe(self, recipe: Recipe, texts: Sequence[str] = (), author: str = "someone") -> Recipe:
        """Keep an intervention, and what came of it, in the study; the earlier ones stay. Returns it tied to the model."""
        bound = recipe.bound(self)
        row = {"name": bound.name, "recipe": bound.model_dump(), "texts": list(texts), "author": author, "at": tables.now()}
        self.catalog.insert(tables.interventions, [row])
        return bound

    def embedder(self) -> Embedder:
        """The text encoder that compares names, words and texts."""
        from workbench.embedding import Embedder

        return Embedder(self)

    @property
    def collections(self) -> Collections:
        """Named lists of concepts."""
        from workbench.store.collections import Collections

        return Collections(self)

    def report(self, path: str | Path = "report.html", **options: Any) -> Path:
        """Write a report: one HTML file that opens without a network."""
        from workbench.reports import write_report

        return write_report(self, Path(path), **options)

    # Keeping it whole

    def verify(self, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
        """What is damaged or unfinished, one row a finding; see :func:`workbench.store.verify.verify`."""
        from workbench.store.verify import verify

        return verify(self, remote_content, progress)

    def repair(self, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
        """Drop what is broken, and say what was dropped; see :func:`workbench.store.repair.repair`."""
        from workbench.store.repair import repair

        return repair(self, remote_content, progress)

    def log(self) -> pd.DataFrame:
        """Activation sets and runs, each below what it came from; see :func:`workbench.store.history.history`."""
        from workbench.store.history import history

        self.look()
        return history(self)

    def usage(self) -> pd.DataFrame:
        """Disk usage by part, the largest first; see :func:`workbench.store.usage.usage`."""
        from workbench.store.usage import usage

        return usage(self)

    def delete(self, ids: str | Sequence[str], with_dependents: bool = False, dry_run: bool = False) -> pd.DataFrame:
        """Delete runs and activation sets that nothing needs; see :func:`workbench.store.deleting.delete`.

        Args:
            ids: Their ids, or the first characters of each.
            with_dependents: Delete what depends on them as well.
            dry_run: Only say what would go.

        Raises:
            UnknownNameError: There is no such run or set.
            StudyError: Something depends on them; it is named, and nothing was deleted.
        """
        from workbench.store.deleting import delete

        return delete(self, [ids] if isinstance(ids, str) else list(ids), with_dependents, dry_run)

    # Sharing it

    def push(self) -> list[str]:
        """Copy what is whole here and not at the remote; see :func:`workbench.store.remote_copy.push`."""
        from workbench.store.remote_copy import push

        return push(self, self._required_remote())

    def pull(self, activations: bool = True) -> list[str]:
        """Fetch what is at the remote and not here; see :func:`workbench.store.remote_copy.pull`."""
        from workbench.store.remote_copy import pull

        self.require_writable("the study")
        return pull(self, self._required_remote(), activations)

    def pack(self, path: str | Path, activations: bool = False, progress: Progress | None = None) -> Path:
        """Write the study into one file for others; see :func:`workbench.store.packing.pack`."""
        from workbench.store.packing import pack

        return pack(self, Path(path), activations, progress)

    def export_table(self, table: str, path: str | Path, raw: bool = False) -> Path:
        """Write a table as CSV or Parquet; see :func:`workbench.store.exchange.export_table`."""
        from workbench.store.exchange import export_table

        return export_table(self, table, Path(path), raw)

    def recapture(self, progress: Progress | None = None) -> list[ActivationSet]:
        """Capture again what was left out when the study was packed; see :meth:`pack`."""
        from workbench.store.packing import recapture

        return recapture(self, progress)

    def close(self) -> None:
        """Close the catalog."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = int(self.catalog.frame(sa.select(tables.concepts.c.id)).shape[0])
        known = self.known_model()
        model = known["name"] if known else "no model yet"
        how = ", read only" if self.read_only else ""
        return f"<Study '{self.name}': {model}, {counted(len(self.runs()), 'run')}, {counted(counts, 'concept')}{how}>"
