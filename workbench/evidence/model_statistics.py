"""Measurements of the model at a site that are made once and stored in the catalog: norms, dose units and doses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from workbench.errors import UnknownNameError
from workbench.evidence.controls import ordinary_rows
from workbench.evidence.doses import Doses
from workbench.store.rows import read_json

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.study import Study

UNIT_ROWS, CONTROL_ROWS, READ_AGAIN = 4096, 2048, 48
KEY_LENGTH = 64


def typical_norm(study: Study, site: str) -> float:
    """See :meth:`Study.typical_norm`."""
    return _kept(study, _key("norm", site), lambda: float(np.linalg.norm(site_rows(study, site), axis=1).mean()))


def dose_unit(study: Study, site: str) -> float:
    """See :meth:`Study.dose_unit`."""

    def measured() -> float:
        rows = ordinary_rows(site_rows(study, site))
        return float(np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean()))

    return _kept(study, _key("unit", site), measured)


def site_rows(study: Study, site: str, count: int = UNIT_ROWS) -> Float[np.ndarray, "n d"]:
    """Some of the captured rows of a site, of the training split where there are such; a packed study's model reads texts again.

    Raises:
        UnknownNameError: No activations of that site were captured.
    """
    found = [acts for acts in study.activations() if site in map(str, acts.sites)]
    if not found:
        raise UnknownNameError("site with activations", site, [], "Capture it first.")
    # Those of the model as it is come before those that were captured under an edit.
    acts = min(found, key=lambda acts: bool(acts.edits)).at(site)
    if acts.left_out:
        return _read_again(study, acts, site)
    return rows_of(acts, None, count)


def rows_of(acts: ActivationSet, dataset: Dataset | None, count: int = CONTROL_ROWS, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """Some rows of one site's activations, float32, drawn at random; of the training split of a data set, where one is given."""
    acts.require_rows()
    inside = np.arange(acts.n_rows)
    if dataset is not None:
        train = dataset.table["split"].eq("train").to_numpy()[acts.index["example"].to_numpy()]
        inside = inside[train] if train.sum() > 1 else inside
    rows: np.ndarray = acts.read(np.sort(np.random.default_rng(seed).permutation(inside)[:count])).astype(np.float32)
    return rows


def _read_again(study: Study, acts: ActivationSet, site: str) -> Float[np.ndarray, "n d"]:
    dataset = study.dataset_of(acts)
    chosen = np.sort(np.random.default_rng(0).permutation(len(dataset))[:READ_AGAIN])
    model = study.model
    batch = model.batch(dataset.inputs(chosen.tolist()), positions=acts.positions)
    place = model.site(site)
    with model.edited(study.edits_of(acts)):
        rows: np.ndarray = model.activations(batch, [place])[place][batch.keep].float().cpu().numpy()
    return rows


def doses_of(study: Study, site: str) -> Doses | None:
    """See :meth:`Study.doses`."""
    known = study.shared.get(("doses of", site)) or study.catalog.info(_key("doses", site))
    return None if known is None else Doses.of_json(read_json(known))


def keep_doses(study: Study, site: str, doses: Doses) -> None:
    """Keep the doses that were found for a site; the newest are those of :meth:`Study.doses`."""
    study.shared["doses of", site] = doses.to_json()
    if not study.read_only:
        study.catalog.set_info(_key("doses", site), doses.to_json())


def _key(what: str, site: str) -> str:
    """A key for the catalog, of at most 64 characters: long sites, such as paths of modules, are hashed."""
    key = f"{what} {site}"
    return key if len(key) <= KEY_LENGTH else f"{what} {hashlib.sha256(site.encode()).hexdigest()[:32]}"


def _kept(study: Study, key: str, measure: Callable[[], float]) -> float:
    known = study.catalog.info(key) or study.shared.get(("kept", key))
    if known is None:
        known = study.shared["kept", key] = repr(measure())
        if not study.read_only:
            study.catalog.set_info(key, known)
    return float(known)
