"""Which examples of a data set a study has activations of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from workbench.activations.drawing import draw

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.store.stored_study import StoredStudy


def captured_examples(study: StoredStudy, dataset: Dataset) -> Int[np.ndarray, "e"]:
    """Row numbers of the data set's examples that the study has activations of, ascending; all examples if it has none."""
    found = [_examples_of(acts, dataset) for acts in study.activations() if acts.dataset_record["hash"] == dataset.hash]
    return np.unique(np.concatenate(found)) if found else np.arange(len(dataset))


def _examples_of(acts: ActivationSet, dataset: Dataset) -> Int[np.ndarray, "e"]:
    request, rule = acts.manifest.request, acts.manifest.sample
    if request.limit is None and acts.n_examples == len(dataset):
        return np.arange(len(dataset))
    if not acts.left_out:
        numbers: np.ndarray = np.unique(acts.index["example"].to_numpy())
        return numbers
    # The rows were left out when the study was packed: the examples are drawn again as they were.
    seed, by = (None, None) if rule is None else (rule["seed"], rule["by"])
    return draw(dataset, acts.n_examples, seed, by).ids
