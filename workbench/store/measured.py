"""What a study measures of its model once and keeps: typical norms in the catalog, gradients for the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import UnknownNameError

if TYPE_CHECKING:
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
        rows = np.sort(np.random.default_rng(0).permutation(acts.n_rows)[:NORM_ROWS])
        known = repr(float(np.linalg.norm(acts.read(rows), axis=1).mean()))
        study.catalog.set_info(key, known)
    return float(known)


def study_gradients(
    study: Study, dataset: Dataset, sites: Sequence[str], labels: Sequence[str], per_label: int, progress: Any
) -> dict[str, dict[str, Any]]:
    """See :meth:`Study.gradients`."""
    from workbench.evidence.readout import output_gradients

    def key(site: str, label: str) -> tuple[Any, ...]:
        return ("gradients", dataset.hash, site, label, per_label)

    missing = [label for label in labels if any(key(site, label) not in study.shared for site in sites)]
    if missing:
        places = [study.model.site(site) for site in sites]
        readout = study.readout(dataset, progress=progress)
        found = output_gradients(study.model, dataset, readout, places, missing, per_label, progress=progress)
        study.shared |= {key(s, label): found[s].get(label) for s in sites for label in missing}
    every = {s: {label: study.shared[key(s, label)] for label in labels} for s in sites}
    return {s: {label: rows for label, rows in part.items() if rows is not None} for s, part in every.items()}
