"""A study: one folder with a catalog, activations and runs. Everything a script does starts here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import sqlalchemy as sa

from workbench.errors import StudyError, UnknownNameError, WorkbenchWarning, disk_errors
from workbench.frames import records
from workbench.numbers import counted
from workbench.paths import inside, require_utf_8
from workbench.store import tables
from workbench.store.caring import Caring
from workbench.store.catalog import Catalog
from workbench.store.deleted import finish_deletions
from workbench.store.look import CATALOG
from workbench.store.opening import admit, writable
from workbench.store.run_record import require_records
from workbench.store.runs import Run, find_run
from workbench.store.study_file import make_or_check

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.activations.manifest import Pool
    from workbench.datasets import Dataset
    from workbench.embedding import Embedder
    from workbench.engines import Engine
    from workbench.evidence.doses import Doses
    from workbench.evidence.readout import Readout
    from workbench.evidence.trial import Examined
    from workbench.models import Model, Site
    from workbench.recipes import Recipe
    from workbench.store.bound import ConceptList
    from workbench.store.collections import Collections
    from workbench.store.concept import Concept
    from workbench.store.repeating import Repetition


class Study(Caring):
    """A study on disk. Open one with :func:`open_study`.

    Attributes:
        folder: Where it lies.
        name: The folder's name.
        catalog: The SQL catalog.
    """

    def __init__(self, folder: Path, catalog: Catalog, remote: str = "") -> None:
        super().__init__(folder, catalog, remote)
        self._done: dict[str, Run] = {}
        # Measurements of the model that several examinations in one session share, such as those of random directions.
        self.shared: dict[tuple[Any, ...], Any] = {}

    # Activations

    def capture(
        self,
        model: Model,
        dataset: Dataset,
        sites: str | Site | Sequence[str | Site],
        pool: Pool = "token",
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

        Raises:
            StudyError: The study was made with another model.
            UnknownNameError: The model has no such site.
            DiskFullError: There is no room.
        """
        from workbench.activations import capture
        from workbench.memory import size_text
        from workbench.store.texts import known_examples

        self.require_writable("the study")
        finish_deletions(self)
        matched = model.match(sites)
        self.use_model(model)
        with disk_errors("activations"):
            inside(self.folder, "activations").mkdir(exist_ok=True)
        dataset = known_examples(self, dataset)
        self.keep_dataset(dataset)
        self.use_dataset(dataset)
        show = options.pop("progress", None)
        unit = "tokens" if model.modality == "text" else "places"

        def tell(done: int, total: int, facts: dict[str, Any]) -> None:
            if show:
                rate = facts["tokens"] / max(facts["seconds"], 1e-9)
                read = f"{done:,} of {total:,} examples, {rate:,.0f} {unit}/s, {size_text(facts['bytes'])} written"
                show(facts["work"], facts["whole_work"], f"capturing {counted(len(matched), 'site')}, {read}")

        acts = capture(
            model,
            dataset,
            sites=matched,
            pool=pool,
            folder=inside(self.folder, "activations"),
            progress=tell,
            fetch=self.fetch_set,
            **options,
        )
        return self.kept(acts)

    def import_activations(self, folder: str | Path, **options: Any) -> ActivationSet:
        """Import activations that something else made; see :func:`workbench.store.exchange.import_activations`."""
        from workbench.store.exchange import import_activations

        return self.kept(import_activations(self, Path(folder), **options))

    def activations(self) -> list[ActivationSet]:
        """Every whole activation set of the study, oldest first; rows that are only at the remote come when they are read."""
        from workbench.activations import ActivationSet
        from workbench.activations.manifest import set_folders

        self.look()
        fetch = self.fetch_set if self.remote else None
        return [ActivationSet.open(folder, fetch) for folder in set_folders(self.folder)]

    def activation_set(self, identifier: str | None = None) -> ActivationSet:
        """An activation set by the first characters of its id; the newest when none is given."""
        every = self.activations()
        if identifier is not None and not any(acts.id.startswith(identifier) for acts in every):
            self.look(again=True)
            every = self.activations()
        found = [acts for acts in every if identifier is None or acts.id.startswith(identifier)]
        if not every:
            raise StudyError(f"The study '{self.name}' has no activations yet: capture some first (workbench capture).")
        if not found:
            raise UnknownNameError("activation set", str(identifier), [acts.id for acts in every])
        return found[-1]

    def datasets(self) -> list[Dataset]:
        """Every data set that the study has activations of."""
        return list({acts.dataset_record["hash"]: self.dataset_of(acts) for acts in self.activations()}.values())

    # Runs

    def run(
        self,
        analysis: str,
        acts: ActivationSet,
        *,
        seed: int = 0,
        force: bool = False,
        progress: Callable[[int, int, str], None] | None = None,
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
            options: The analysis's own.

        Raises:
            UnknownNameError: No such analysis.
            ConfigError: An option does not fit.
        """
        from workbench.progress import silent
        from workbench.runner import execute

        return execute(self, analysis, acts, options, seed, force, progress or silent, engine=engine)

    def repeat(
        self, run: Run | str, tolerance: float = 0.0, progress: Callable[[int, int, str], None] | None = None
    ) -> Repetition:
        """Do a run again as it was configured, and hold what it found against the first; see :mod:`workbench.store.repeating`."""
        from workbench.progress import silent
        from workbench.store.repeating import repeat

        return repeat(self, self.get_run(run) if isinstance(run, str) else run, tolerance, progress or silent)

    def runs(self, status: str | None = "done") -> pd.DataFrame:
        """The runs, oldest first."""
        query = sa.select(tables.runs).order_by(tables.runs.c.started, tables.runs.c.id)
        found = self.catalog.frame(query if status is None else query.where(tables.runs.c.status == status))
        require_records(records(found), self.catalog.called)
        return found

    def get_run(self, identifier: str) -> Run:
        """A run by its id or the first characters of it."""
        if identifier in self._done:
            return self._done[identifier]
        run = Run(self, find_run(self, identifier))
        if run.record["status"] == "done":
            # A finished run never changes, and its weights are read once.
            self._done[run.id] = run
        return run

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
        from workbench.store.search import search

        return search(self, query, **where)

    def examine(self, concepts: Examined, dataset: Dataset | None = None, **options: Any) -> pd.DataFrame:
        """Put concepts on trial; see :func:`workbench.evidence.examine`."""
        from workbench.evidence import examine

        return examine(self, concepts, dataset, **options)

    def counterparts(self, **options: Any) -> pd.DataFrame:
        """Pairs of concepts of different methods at one site, with what says that they are the same or not."""
        from workbench.evidence.counterparts import counterparts

        return counterparts(self, **options)

    def families(self, **options: Any) -> pd.DataFrame:
        """Concepts that several methods found and that are one: ``family, concept, method, site``."""
        from workbench.evidence.counterparts import families

        return families(self, **options)

    def evidence(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """The newest evidence of every concept."""
        return self.catalog.evidence(metrics=metrics)

    def plan(self, acts: ActivationSet | None = None, **options: Any) -> pd.DataFrame:
        """What effects the labels of some activations' data can show; see `workbench.evidence.plan.plan`."""
        from workbench.evidence.plan import plan

        return plan(self, acts, **options)

    def steered(self) -> pd.DataFrame:
        """Every concept that was steered, with effect, price and verdict; see :func:`workbench.evidence.steered_concepts`."""
        from workbench.evidence.steered import steered_concepts

        return steered_concepts(self)

    def readout(self, dataset: Dataset, **options: Any) -> Readout:
        """The frozen linear readout of the model's output for a data set's labels; fitted once, then kept."""
        from workbench.evidence.readout import study_readout

        return study_readout(self, dataset, **options)

    def gradients(
        self, dataset: Dataset, sites: Sequence[str], labels: Sequence[str], per_label: int = 30,
        positions: str = "content", progress: Any = None,
    ) -> dict[str, dict[str, Any]]:  # fmt: skip
        """Gradients of the readout's logits on held-out inputs, summed over the ``positions`` of each (see
        `workbench.conversations.POSITIONS`), ``{site: {label: [e, d]}}``; measured once a session."""
        from workbench.store.measured import study_gradients

        return study_gradients(self, dataset, sites, labels, per_label, positions, progress)

    def dose_unit(self, site: str | Site) -> float:
        """The root mean square distance of a site's activations from their mean, over a sample of captured rows: what a dose of 1
        adds. Measured once.

        A few rows far from all others, such as attention sinks, are left out; in a packed study the model reads some texts again.

        Raises:
            UnknownNameError: No activations of that site were captured.
        """
        from workbench.store.measured import dose_unit

        return dose_unit(self, str(site))

    def doses(self, site: str | Site) -> Doses | None:
        """The doses at which random directions cost about 1, 3 and 10%, as the newest examination of a site found them;
        None where nothing was steered there."""
        from workbench.store.measured import doses_of

        return doses_of(self, str(site))

    def typical_norm(self, site: str | Site) -> float:
        """The mean norm of an activation at a site: the unit of the doses of evidence before `causes.push`. Measured once.

        Raises:
            UnknownNameError: No activations of that site were captured.
        """
        from workbench.store.measured import typical_norm

        return typical_norm(self, str(site))

    # Interventions

    def keep_recipe(self, recipe: Recipe, texts: Sequence[str] = (), author: str = "someone") -> Recipe:
        """Keep an intervention, and what came of it, in the study; the earlier ones stay. Returns it tied to the model."""
        bound = recipe.bound(self)
        row = {"name": bound.name, "recipe": bound.model_dump(), "texts": list(texts), "author": author, "at": tables.now()}
        self.catalog.insert(tables.interventions, [row])
        return bound

    def recipes(self) -> pd.DataFrame:
        """The kept interventions, oldest first: ``id, name, recipe, texts, author, at``."""
        return self.catalog.frame(sa.select(tables.interventions).order_by(tables.interventions.c.id))

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

    def close(self) -> None:
        """Let go of the catalog."""
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


def open_study(
    path: str | Path, create: bool = True, catalog: str | None = None, remote: str | None = None, trust: bool = False, *,
    read_only: bool = False,
) -> Study:  # fmt: skip
    """Open a study, and make it when it is not there.

    A study that this user has not opened before is looked at first: a catalog that holds anything but our tables is refused. One
    whose folder may not be written is opened for reading only (``study.read_only``), and a warning says so.

    Args:
        path: A folder.
        create: Make it when it does not exist; otherwise that is an error.
        catalog: Where the catalog of a new study is to be, such as ``postgresql+psycopg://user@host/database``; ``catalog.db``
            in the folder when not given. A study keeps it.
        remote: Where runs and activations are kept as well and fetched from when they are not here, such as
            ``s3://bucket/prefix``; kept like the catalog. A study that has none yet gets it.
        trust: Say yes, once, to what a study from elsewhere does on opening; see :class:`workbench.errors.NotTrustedError`.
        read_only: Write nothing, although the folder may be written.

    Raises:
        NotTrustedError: It is from elsewhere, and names places that would be contacted, or its catalog was not closed.
        StudyError: The folder holds something else, or cannot be read; or the catalog or remote cannot, or is another one.
        ConfigError: The catalog is in no database that can be used, or a URL has a password in it.
        MissingExtraError: There is no library for the database or the remote.
    """
    folder = require_utf_8(Path(path).expanduser().resolve())
    about = make_or_check(folder, str(path), create, catalog, remote)
    admit(folder, str(path), about, trust, catalog is not None, remote is not None)
    if not read_only and (read_only := not writable(folder)):
        text = f"The study {path} is open for reading only: its folder may not be written."
        warnings.warn(text, WorkbenchWarning, stacklevel=2)
    study = Study(folder, Catalog(about.catalog or f"sqlite:///{folder.as_posix()}/{CATALOG}", read_only), about.remote)
    finish_deletions(study)
    return study
