"""What a study is about: its model and its data sets, loaded when they are first asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import StudyError

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.models import Model
    from workbench.store.catalog import Catalog
    from workbench.store.remote import Remote


class Inputs:
    """The part of a :class:`~workbench.store.study.Study` that knows its model and data sets.

    Attributes:
        folder: Where the study lies.
        name: The folder's name.
        catalog: The SQL catalog.
        remote: Where runs, sets and texts are kept as well, or None.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder = folder
        self.name = folder.name
        self.catalog = catalog
        self.remote: Remote | None = None
        self._model: Model | None = None
        self._datasets: dict[str, Dataset] = {}

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
                    f"The model '{record['name']}' of this study was built in Python; load it and give it once:"
                    " study.use_model(model)."
                )
            self.use_model(load_model(source.pop("spec"), **source))
        assert self._model is not None
        return self._model

    def use_model(self, model: Model) -> None:
        """Give the study its model object.

        Raises:
            StudyError: The study was made with other weights.
        """
        from workbench.runner import require_same_model

        require_same_model(self, model.describe())
        self._model = model

    def model_record(self) -> dict[str, Any]:
        """What is known of the model without loading it."""
        known = self.catalog.info("model")
        if known is None:
            raise StudyError(f"Study '{self.name}' has no activations yet; capture some first: study.capture(model, data, …).")
        record: dict[str, Any] = json.loads(known)
        return record

    def dataset_of(self, acts: ActivationSet) -> Dataset:
        """The data set that activations were captured from.

        Raises:
            StudyError: It cannot be loaded again, or has changed since.
        """
        return self._dataset(acts.dataset_record)

    def _dataset(self, record: dict[str, Any]) -> Dataset:
        if record["hash"] not in self._datasets:
            from workbench.store.texts import load_again

            if self.remote:
                self.remote.fetch_texts(record)
            self.use_dataset(load_again(self.folder, record))
        return self._datasets[record["hash"]]

    def use_dataset(self, dataset: Dataset) -> None:
        """Give the study a data set object."""
        self._datasets[dataset.hash] = dataset
