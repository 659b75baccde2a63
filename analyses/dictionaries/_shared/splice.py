"""How much of the model's output is kept when a reconstruction stands in for the activations."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.concepts import DictionaryConcepts
from workbench.errors import DataError
from workbench.models import Output
from workbench.models.work import reading_work
from workbench.progress import Progress, shares
from workbench.statistics.clusters import example_clusters
from workbench.statistics.intervals import ratio_interval
from workbench.statistics.rows import Null, row

if TYPE_CHECKING:
    from workbench.analysis import Context

SPLICED_EXAMPLES, SPLICED_AT_ONCE = 64, 8


def spliced(dictionary: DictionaryConcepts, mean: Float[Tensor, "d"], site: str, context: Context) -> dict[str, Any]:
    """How much of the model's output survives when the reconstruction takes the activations' place.

    Raises:
        DataError: The output does not change even when the mean activation takes their place.
    """
    from workbench.edits import Edit
    from workbench.evidence.shifts import output_shift

    model, dataset = context.model(), context.dataset
    held = np.flatnonzero(dataset.table["split"].eq("test"))
    chosen = np.random.default_rng(context.seed).permutation(held)[:SPLICED_EXAMPLES]
    where = model.site(site)
    ours, instead = [], []
    inputs = dataset.inputs(chosen.tolist())
    work, begins = reading_work(model, inputs), range(0, len(chosen), SPLICED_AT_ONCE)
    # A few texts at a time, so that progress is reported often with a large vocabulary.
    progresses = shares(context.progress, [sum(work[begin : begin + SPLICED_AT_ONCE]) for begin in begins])
    for begin, show in zip(begins, progresses, strict=True):
        part = slice(begin, begin + SPLICED_AT_ONCE)
        what = f"splicing the reconstruction into the model, {begin:,} of {len(chosen):,} inputs"
        show(0, 1, what)
        batch = model.batch(inputs[part], positions=context.activations.positions)
        base, _ = model.forward(batch, logits=False)
        with torch.no_grad():
            with model.edited(Edit(where, lambda h: dictionary.reconstruct(h.flatten(0, 1)).to(h).view_as(h))):
                kept, _ = model.forward(batch, logits=False)
            with model.edited(Edit(where, lambda h: mean.to(h).expand_as(h))):
                flat, _ = model.forward(batch, logits=False)
        # Both at once, so that the logits of the unedited model are computed once.
        both = output_shift(base, _joined(kept, flat), batch.keep, partial(_show_share, show, what))
        ours.append(both[: len(batch)])
        instead.append(both[len(batch) :])
    progresses[-1](1, 1, "splicing the reconstruction into the model")
    a, b = torch.cat(ours).double().cpu().numpy(), torch.cat(instead).double().cpu().numpy()
    if not b.sum() > 0:
        raise DataError(
            f"The model's output does not change when its mean takes the place of the activations at {site}: there is nothing to"
            " keep, so how much the reconstruction keeps cannot be said."
        )
    clusters = example_clusters(dataset, chosen)
    lost, low, high = ratio_interval(a, b, clusters)
    known: dict[str, Any] = {"n": len(a), "clusters": len(np.unique(clusters))}
    return row("sae.output_kept", 1 - lost, Null(0.0), low=1 - high, high=1 - low, **known)


def _show_share(progress: Progress, what: str, share: float) -> None:
    # With a large vocabulary reading the output is nearly all of the work.
    progress(round(1000 * share), 1000, what)


def _joined(first: Output, second: Output) -> Output:
    """Two outputs for the same inputs, one after the other."""
    tokens, logits = None, None
    if first.tokens is not None and second.tokens is not None:
        tokens = replace(first.tokens, rows=torch.cat([first.tokens.rows, second.tokens.rows]))
    elif first.logits is not None and second.logits is not None:
        logits = torch.cat([first.logits, second.logits])
    return Output(torch.cat([first.pooled, second.pooled]), logits, tokens)
