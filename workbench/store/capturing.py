"""Capturing activations into a study: records its model and data, captures, and copies the new rows to its remote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.errors import disk_errors
from workbench.memory import size_text
from workbench.numbers import counted
from workbench.paths import inside
from workbench.store.deleted import finish_deletions
from workbench.store.texts import known_examples

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.activations.manifest import Pool
    from workbench.datasets import Dataset
    from workbench.models import Model
    from workbench.sites import Site
    from workbench.store.stored_study import StoredStudy


def capture_into(
    study: StoredStudy, model: Model, dataset: Dataset, sites: str | Site | Sequence[str | Site], pool: Pool, **options: Any
) -> ActivationSet:
    """See :meth:`workbench.study.Study.capture`."""
    from workbench.activations import capture
    from workbench.activations.capturing import capturable

    study.require_writable("the study")
    finish_deletions(study)
    matched = capturable(model, sites)
    study.use_model(model)
    with disk_errors("activations"):
        inside(study.folder, "activations").mkdir(exist_ok=True)
    dataset = known_examples(study, dataset)
    study.keep_dataset(dataset)
    study.use_dataset(dataset)
    show = options.pop("progress", None)
    unit = "tokens" if model.modality == "text" else "places"

    def tell(done: int, total: int, facts: dict[str, Any]) -> None:
        if show:
            rate = facts["tokens"] / max(facts["seconds"], 1e-9)
            read = f"{done:,} of {total:,} examples, {rate:,.0f} {unit}/s, {size_text(facts['bytes'])} written"
            show(facts["work"], facts["whole_work"], f"capturing {counted(len(matched), 'site')}, {read}")

    home = inside(study.folder, "activations")
    acts = capture(model, dataset, sites=matched, pool=pool, folder=home, progress=tell, fetch=study.fetch_set, **options)
    return study.kept(acts)
