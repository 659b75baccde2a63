"""How far the output of a model moves when it is edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.models import Batch, Model, Output, Site
from workbench.models.logits import shifts, thinned

DESTROYED = {"loss": 0.5, "divergence": 3.0, "angle": 0.5}
"""What is beyond is no effect on a model but another model: rise of the loss, nats of divergence, one minus cosine."""


def output_shift(
    base: Output, edited: Output, keep: Tensor | None, callback: Callable[[float], None] = lambda _: None
) -> Float[Tensor, "b"]:
    """How far an output moved: KL(base || edited) in nats, mean over positions, or one minus cosine of the pooled vector.

    Args:
        base: Of the unedited model, for ``b`` inputs.
        edited: Of the edited one, for the same inputs, or for them ``k`` times over, each time with another edit.
        keep: ``[b, t]``: the positions that count, of a model that predicts tokens.
        callback: Called with the share that is done, up to 1.

    Returns:
        ``[k * b]``.
    """
    times = len(edited.pooled) // len(base.pooled)
    if base.tokens is not None and edited.tokens is not None and keep is not None:
        kept = keep.flatten()
        parts = edited.tokens.rows.chunk(times)
        each = [replace(edited.tokens, rows=part).select(kept) for part in parts]
        found = shifts(base.tokens.select(kept), each, callback=callback)
        text = keep.nonzero()[:, 0].cpu()
        count = keep.sum(1).clamp(min=1).cpu()
        return torch.cat([torch.zeros(len(keep)).index_add_(0, text, one.divergence) / count for one in found])
    if base.logits is None or edited.logits is None:
        return 1 - torch.nn.functional.cosine_similarity(base.pooled.repeat(times, 1), edited.pooled, dim=-1)
    before, after = base.logits.float().log_softmax(-1).repeat(times, 1), edited.logits.float().log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)


def shift_measure(base: Output) -> str:
    """Which of `workbench.evidence.doses.MEASURES` the shift of such an output is."""
    return "divergence" if base.tokens is not None or base.logits is not None else "angle"


def shift_positions(base: Output, batch: Batch) -> Bool[Tensor, "b t"]:
    """The positions that count in the shift of a model that predicts tokens: of a large vocabulary, some of each text."""
    return batch.keep if base.tokens is None else thinned(batch.keep, base.tokens.block(0, 1).shape[1])


def reading_share(model: Model, site: Site, tokens: int, read: int, vocabulary: int) -> float:
    """About which share of a pass from a site on is the reading of its logits, at ``read`` of the tokens.

    A number of the residual stream costs a block some twelve of the products that a logit is made of; besides, a logit costs as
    much as a hundred of them when it is compared.
    """
    width = model.width(site)
    blocks = sum(place.kind == "resid_post" for place in model.sites[model.sites.index(site) :])
    passed, reading = tokens * 12.0 * width * width * max(blocks, 1), read * float(vocabulary) * (width + 100)
    return reading / (passed + reading)
