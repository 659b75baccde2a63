"""What a study measures of its model once and keeps: typical norms in the catalog, gradients for the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from workbench.activations.drawing import draw
from workbench.errors import UnknownNameError

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.store.study import Study

NORM_ROWS = 4096


def typical_norm(study: Study, site: str) -> float:
    """See :meth:`Study.typical_norm`."""
    key = f"norm {site}"[:64]
    if (known := study.catalog.info(key)) is None:
        found = [acts for acts in study.activations() if site in map(str, acts.sites)]
        if not found:
            raise UnknownNameError("site with activations", site, [], "Capture it first.")
        acts = found[0].at(site)
        acts.require_rows()
        rows = np.sort(np.random.default_rng(0).permutation(acts.n_rows)[:NORM_ROWS])
        known = repr(float(np.linalg.norm(acts.read(rows), axis=1).mean()))
        if not study.read_only:
            study.catalog.set_info(key, known)
    return float(known)


def captured_examples(study: Study, dataset: Dataset) -> Int[np.ndarray, "e"]:
    """The numbers of the examples of a data set of which the study has activations, ascending; all where it has none."""
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


def study_gradients(
    study: Study,
    dataset: Dataset,
    sites: Sequence[str],
    labels: Sequence[str],
    per_label: int,
    positions: str,
    progress: Any,
) -> dict[str, dict[str, Any]]:
    """See :meth:`Study.gradients`."""
    from workbench.evidence.readout import output_gradients

    def key(site: str, label: str) -> tuple[Any, ...]:
        return ("gradients", dataset.hash, site, label, per_label, positions)

    missing = [label for label in labels if any(key(site, label) not in study.shared for site in sites)]
    if missing:
        places = [study.model_for(progress).site(site) for site in sites]
        readout = study.readout(dataset, progress=progress)
        how = {"positions": positions, "progress": progress}
        found = output_gradients(study.model, dataset, readout, places, missing, per_label, **how)
        study.shared |= {key(s, label): found[s].get(label) for s in sites for label in missing}
    every = {s: {label: study.shared[key(s, label)] for label in labels} for s in sites}
    return {s: {label: rows for label, rows in part.items() if rows is not None} for s, part in every.items()}
