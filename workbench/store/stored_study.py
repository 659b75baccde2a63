"""A study on disk. Its model and data sets are loaded when they are first asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import sqlalchemy as sa
from pydantic import ConfigDict
from typing_extensions import TypedDict

from workbench.errors import StudyError, UnknownNameError, disk_errors
from workbench.frames import records
from workbench.shapes import reading, shaped
from workbench.store import tables
from workbench.store.deleted import deleted_sets, revive
from workbench.store.model_record import require_same_model
from workbench.store.remote import Remote
from workbench.store.run_record import require_records
from workbench.store.runs import Run, find_run
from workbench.writing import require_writable

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.models import Model
    from workbench.progress import Progress
    from workbench.store.catalog import Catalog
    from workbench.study import Study


class ModelRecord(TypedDict):
    """The study's model in the catalog; further keys are allowed."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: str
    kind: str
    weights_hash: str
    source: dict[str, Any]


class DatasetRecord(TypedDict):
    """The data set whose labels are in force, in the catalog."""

    name: str
    hash: str
    source: dict[str, Any]


class StoredStudy:
    """A study as it lies on disk: its catalog, activation sets and runs, its model and data sets, and its remote.

    :class:`~workbench.study.Study` adds the work that is done in it.

    Attributes:
        folder: The study's folder.
        name: The folder's name.
        catalog: The SQL catalog.
        remote: Where runs, sets and texts are copied to, or None.
    """

    def __init__(self, folder: Path, catalog: Catalog, remote: str = "") -> None:
        self.folder = folder
        self.name = folder.name
        self.catalog = catalog
        self.remote = Remote(folder, remote) if remote else None
        self._model: Model | None = None
        self._datasets: dict[str, Dataset] = {}
        self._done: dict[str, Run] = {}
        # Measurements of the model that several examinations in one session share, such as those of random directions.
        self.shared: dict[tuple[Any, ...], Any] = {}

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written: that was asked for, or the folder was not writable when the study was opened."""
        return self.catalog.read_only

    def require_writable(self, what: str) -> None:
        """Raise unless the study can be written.

        Args:
            what: What is to be written, for the error.

        Raises:
            StudyError: It was opened for reading only.
        """
        require_writable(self.read_only, what)

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
        run = self.run_of(find_run(self, identifier))
        if run.record["status"] == "done":
            # A finished run never changes, and its weights are read once.
            self._done[run.id] = run
        return run

    def run_of(self, record: dict[str, Any]) -> Run:
        """A `Run` for a record of the catalog."""
        return Run(cast("Study", self), record)

    def evidence(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """The newest evidence of every concept."""
        return self.catalog.evidence(metrics=metrics)

    def recipes(self) -> pd.DataFrame:
        """The stored interventions, oldest first: ``id, name, recipe, texts, author, at``."""
        return self.catalog.frame(sa.select(tables.interventions).order_by(tables.interventions.c.id))

    @property
    def model(self) -> Model:
        """The model the study is about, loaded when first asked for.

        Raises:
            StudyError: The study has no model yet, or the one that loads now has other weights.
        """
        if self._model is None:
            from workbench.models import load_model

            record = self.model_record()
            source = dict(record["source"])
            if "spec" not in source:
                raise StudyError(
                    f"The model '{record['name']}' of this study has no name or folder to load it by: its activations were"
                    " imported, or it was built in Python. What needs the model needs it from Python: study.use_model(model)."
                )
            self.use_model(load_model(source.pop("spec"), **source))
        assert self._model is not None
        return self._model

    def model_for(self, progress: Progress | None) -> Model:
        """:attr:`model`, reporting to ``progress`` that it is being loaded, since a large one takes long."""
        if self._model is None and progress is not None:
            progress(0, 1, f"loading the model {self.model_record()['name']}")
        return self.model

    def use_model(self, model: Model) -> None:
        """Give the study its model object.

        Raises:
            StudyError: The study was made with other weights.
        """
        require_same_model(self, model.describe())
        self._model = model

    def model_record(self) -> dict[str, Any]:
        """What is known of the model without loading it."""
        if (record := self.known_model()) is None:
            raise StudyError(f"Study '{self.name}' has no activations yet; capture some first: study.capture(model, data, …).")
        return record

    def known_model(self) -> dict[str, Any] | None:
        """What is known of the model without loading it; None where there is none yet."""
        return self._known("model", ModelRecord)

    def _known(self, key: str, shape: type[Any]) -> dict[str, Any] | None:
        """A record that the catalog stores as JSON; None if there is none."""
        known = self.catalog.info(key)
        if known is None:
            return None
        with reading(f"The record {key!r} in {self.catalog.called}", "Restore the catalog from a copy."):
            return dict(shaped(known, shape))

    def dataset_of(self, acts: ActivationSet) -> Dataset:
        """The data set that activations were captured from, with the labels, groups and splits that the study has for it now.

        Raises:
            StudyError: It cannot be loaded again, or has changed since.
        """
        return self._dataset(self._known(_key(acts.manifest.request.dataset_hash), DatasetRecord) or acts.dataset_record)

    def dataset_of_run(self, run: Run) -> Dataset:
        """The data set of a run, with the labels, groups and splits that the run was made with.

        Raises:
            StudyError: It cannot be loaded again, or has changed since.
        """
        inputs = run.record["inputs"]
        record = self.activation_set(inputs["activations"]).dataset_record
        return self._dataset({**record, "hash": inputs.get("dataset_hash", record["hash"])})

    def dataset_for(self, run: Run) -> Dataset:
        """The data set to try a run's concepts on: with the labels that the study has now, where that is sound.

        Concepts that were fitted to labels are tried on the labels that they were fitted to; and where groups or splits were
        changed since, on those of the run, whose test examples it never saw.

        Raises:
            StudyError: It cannot be loaded again, or has changed since.
        """
        now = self.dataset_of(self.activation_set(run.record["inputs"]["activations"]))
        if run.record["inputs"].get("dataset_hash", now.hash) == now.hash:
            return now
        then = self.dataset_of_run(run)
        same = now.table[["split", "group"]].equals(then.table[["split", "group"]])
        supervised = any(run.labels)
        return then if supervised or not same else now

    def _dataset(self, record: dict[str, Any]) -> Dataset:
        if record["hash"] not in self._datasets:
            from workbench.store.texts import load_again

            if self.remote:
                self.remote.fetch_texts(record)
            self._datasets[record["hash"]] = load_again(self.folder, record)
        return self._datasets[record["hash"]]

    def use_dataset(self, dataset: Dataset) -> None:
        """Make a data set's labels, groups and splits the current ones for all activations of its examples."""
        self._remember(dataset)
        record = json.dumps({"name": dataset.name, "hash": dataset.hash, "source": dataset.source}, default=str)
        for digest in (dataset.content_hash, dataset.hash, *dataset.earlier):
            if self.catalog.info(_key(digest)) != record:
                self.catalog.set_info(_key(digest), record)

    def relabel(
        self, table: pd.DataFrame | str | Path | None = None, acts: ActivationSet | None = None, **options: Any
    ) -> Dataset:
        """Change the labels, groups or splits of captured examples; the activations stay as they are.

        Runs keep those that they were made with; the next ones read the new ones.

        Args:
            table: Where further columns come from, a DataFrame or a file; see :func:`workbench.datasets.relabel.relabel`.
            acts: Whose examples; those of the newest set when left out.
            options: ``key``, ``labels``, ``group``, ``split``, ``missing``, ``encoding``.

        Raises:
            DataError: A column is not there or cannot be used, or no row of the table is of an example.
        """
        dataset = self.dataset_of(acts or self.activation_set()).relabel(table, **options)
        self.keep_dataset(dataset)
        self.use_dataset(dataset)
        return dataset

    def keep_dataset(self, dataset: Dataset) -> None:
        """Store the table of a data set with the study and at its remote, without making its labels the current ones."""
        from workbench.store.texts import copy_path, keep_texts

        self.require_writable("the study")
        with disk_errors("the data set"):
            written = keep_texts(self.folder, dataset)
        self._remember(written or dataset)
        if written and self.remote:
            self.remote.put_texts(anew=copy_path(self.folder, dataset.hash).stem)

    def _remember(self, dataset: Dataset) -> None:
        known = self._datasets.get(dataset.hash)
        # Of two data sets with the same labels, the one with more columns.
        if known is None or not set(dataset.table.columns) <= set(known.table.columns):
            self._datasets[dataset.hash] = dataset
        elif known.missing_words != dataset.missing_words:
            self._datasets[dataset.hash] = replace(known, missing_words=dataset.missing_words)

    # The remote

    def look(self, again: bool = False) -> None:
        """Fetch the manifests of sets that others copied to the remote, at most twice a minute unless ``again``."""
        if self.remote and not self.read_only:
            self.remote.look(again, without=deleted_sets(self))

    def fetch_set(self, folder: Path) -> None:
        """Fetch a set's rows from the remote if it has them. Called before a capture, so a deleted set no longer counts as
        deleted."""
        revive(self, folder.name)
        if self.remote and self.remote.has("activations", folder.name):
            self.remote.fetch_set(folder.name)

    def kept(self, acts: ActivationSet) -> ActivationSet:
        """Copy a new set to the remote, and return it."""
        if self.remote:
            self.remote.put_texts()
            self.remote.put("activations", acts.id)
        return acts

    def _required_remote(self) -> Remote:
        if self.remote is None:
            raise StudyError(f"Study '{self.name}' has no remote: give it one, `workbench study push {self.name} --remote URL`.")
        return self.remote


def _key(digest: str) -> str:
    return f"labels of {digest[:32]}"
