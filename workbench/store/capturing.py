"""Capturing activations into a study: records its model and data, captures, and copies the new rows to its remote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import disk_errors
from workbench.memory import size_text
from workbench.numbers import counted
from workbench.paths import inside
from workbench.store.deleted import finish_deletions
from workbench.store.texts import known_examples

if TYPE_CHECKING:
    from torch import nn

    from workbench.activations import ActivationSet
    from workbench.activations.manifest import Pool
    from workbench.datasets import Dataset
    from workbench.models import Model
    from workbench.progress import Progress
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
    show = _as_step(options.pop("progress", None), model, len(matched))
    home = inside(study.folder, "activations")
    acts = capture(model, dataset, sites=matched, pool=pool, folder=home, progress=show, fetch=study.fetch_set, **options)
    return study.kept(acts)


def capture_for_run(
    folder: Path,
    own: Dataset,
    progress: Progress,
    model: Model | str | Path | nn.Module,
    sites: str | Site | Sequence[str | Site],
    dataset: Dataset | None = None,
    **options: Any,
) -> ActivationSet:
    """Activations that are a run's own, of any model; see `workbench.analysis.Context.capture`.

    Args:
        folder: Where they are written; what was captured there before is opened.
        own: The data set of the run, which is read when no other is given.
        progress: Shows how far it is.
        model: A model, or what `workbench.load_model` takes.
        sites: Site names, with ``*`` for any layer.
        dataset: The data.
        options: Those of `workbench.activations.capture`.
    """
    from workbench.activations import capture
    from workbench.models import Model, load_model

    network = model if isinstance(model, Model) else load_model(model)
    show = _as_step(progress, network, len(network.match(sites)))
    return capture(network, own if dataset is None else dataset, sites=sites, folder=folder, progress=show, **options)


def _as_step(show: Progress | None, model: Model, sites: int) -> Callable[[int, int, dict[str, Any]], None] | None:
    """The callback of a capture that shows its work as a step with the time left."""
    if show is None:
        return None
    unit = "tokens" if model.modality == "text" else "places"

    def tell(done: int, total: int, facts: dict[str, Any]) -> None:
        rate = facts["tokens"] / max(facts["seconds"], 1e-9)
        read = f"{done:,} of {total:,} examples, {rate:,.0f} {unit}/s, {size_text(facts['bytes'])} written"
        show(facts["work"], facts["whole_work"], f"capturing {counted(sites, 'site')}, {read}")

    return tell
