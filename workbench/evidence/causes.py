"""Causes: what writing a concept into the model does, against random directions of the same norm.

A dose is a multiple of the typical norm of an activation at the site, so every concept and every control of a site is given
exactly the same push, in its own direction. Negative doses are the sign-flipped control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.conversations import DEFAULT_POSITIONS
from workbench.edits import Edit
from workbench.evidence.readout import Readout
from workbench.memory import rows_at_once
from workbench.models.logits import shifts, thinned
from workbench.progress import Progress

if TYPE_CHECKING:
    from workbench.models import Batch, Model, Output, Site

DOSES = (-0.5, -0.25, 0.25, 0.5)
RANDOM_DIRECTIONS = 20
ROWS_AT_ONCE = 96
# Arrays of the width of the residual stream that a pass has at a time, the wide ones of the MLP counted several times.
_PASS_ARRAYS = 24


@dataclass(frozen=True)
class Response:
    """What steering did.

    Attributes:
        doses: ``[q]``.
        readout: Change of every readout logit, ``[k, q, e, l]`` (directions, doses, examples, labels).
        output: Shift of the model's output, ``[k, q, e]``.
    """

    doses: Float[np.ndarray, "q"]
    readout: Float[np.ndarray, "k q e l"]
    output: Float[np.ndarray, "k q e"]

    def slopes(self) -> Float[np.ndarray, "k e l"]:
        """Least-squares slope through the origin of every logit on the dose."""
        weights = self.doses / np.square(self.doses).sum()
        return np.einsum("kqel,q->kel", self.readout, weights)


def output_shift(base: Output, edited: Output, keep: Tensor | None) -> Float[Tensor, "b"]:
    """How far an output moved: KL(base || edited) in nats, mean over positions, or one minus cosine of the pooled vector.

    Args:
        base: Of the unedited model, for ``b`` inputs.
        edited: Of the edited one, for the same inputs, or for them ``k`` times over, each time with another edit.
        keep: ``[b, t]``: the positions that count, of a model that predicts tokens.

    Returns:
        ``[k * b]``.
    """
    times = len(edited.pooled) // len(base.pooled)
    if base.tokens is not None and edited.tokens is not None and keep is not None:
        kept = keep.flatten()
        parts = edited.tokens.rows.chunk(times)
        found = shifts(base.tokens.select(kept), [replace(edited.tokens, rows=part).select(kept) for part in parts])
        text = keep.nonzero()[:, 0].cpu()
        count = keep.sum(1).clamp(min=1).cpu()
        return torch.cat([torch.zeros(len(keep)).index_add_(0, text, one.divergence) / count for one in found])
    if base.logits is None or edited.logits is None:
        return 1 - torch.nn.functional.cosine_similarity(base.pooled.repeat(times, 1), edited.pooled, dim=-1)
    before, after = base.logits.float().log_softmax(-1).repeat(times, 1), edited.logits.float().log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)


def dose_response(
    model: Model,
    site: Site,
    directions: Float[Tensor, "k d"],
    inputs: Sequence[object],
    readout: Readout,
    scale: float,
    doses: Sequence[float] = DOSES,
    positions: str = DEFAULT_POSITIONS,
    progress: Progress | None = None,
) -> Response:
    """Steer along each direction at each dose, at every position that a capture takes of every input, and read the output.

    Args:
        model: The model.
        site: Where to write.
        directions: Unit vectors.
        inputs: A few texts or images.
        readout: The frozen readout.
        scale: The norm that dose 1 adds.
        doses: Without zero; zero's effect is zero.
        positions: Which positions those are, see `workbench.conversations.POSITIONS`.
        progress: Called with ``(done, total, text)``.
    """
    batch = model.batch(list(inputs))
    base, _ = model.forward(batch, logits=False)
    keep = batch.keep
    if base.tokens is not None:
        keep = thinned(keep, base.tokens.block(0, 1).shape[1])
    logits = readout.logits(base.pooled.float())
    jobs = [(k, q) for k in range(len(directions)) for q in range(len(doses))]
    what = f"dose response at {site}, {len(directions)} directions"
    effect = np.zeros((len(directions), len(doses), len(inputs), len(readout.labels)), dtype=np.float32)
    shift = np.zeros(effect.shape[:3], dtype=np.float32)
    step = passes_at_once(model, batch)
    for begin in range(0, len(jobs), step):
        if progress:
            progress(begin, len(jobs), what)
        part = jobs[begin : begin + step]
        push = torch.stack([directions[k] * doses[q] * scale for k, q in part])
        with model.edited(pushed(site, push, len(inputs), positions)):
            edited, _ = model.forward(repeat(batch, len(part)), logits=False)
        change = readout.logits(edited.pooled.float()).reshape(len(part), len(inputs), -1) - logits
        moved = output_shift(base, edited, keep)
        for place, (k, q) in enumerate(part):
            effect[k, q] = change[place].cpu().numpy()
            shift[k, q] = moved.reshape(len(part), -1)[place].cpu().numpy()
    return Response(np.asarray(doses, dtype=np.float32), effect, shift)


def pushed(site: Site, pushes: Float[Tensor, "k d"], inputs: int, positions: str) -> Edit:
    """The edit that adds the k-th push to the k-th copy of a batch of ``inputs``, at the positions that a capture takes."""
    delta = pushes.repeat_interleave(inputs, dim=0)[:, None, :]
    return Edit(site, lambda h_btd: h_btd + delta.to(h_btd), positions=None if positions == DEFAULT_POSITIONS else positions)


def repeat(batch: Batch, times: int) -> Batch:
    """The batch, ``times`` times over."""
    tensors = {
        name: value.repeat(times, *[1] * (value.dim() - 1)) if isinstance(value, Tensor) and value.dim() else value
        for name, value in batch.inputs.items()
    }
    return replace(
        batch,
        inputs=tensors,
        attention=batch.attention.repeat(times, 1),
        keep=batch.keep.repeat(times, 1),
        kinds=None if batch.kinds is None else batch.kinds.repeat(times, 1),
        pieces=np.tile(batch.pieces, (times, 1)),
        spans=np.tile(batch.spans, (times, 1, 1)),
    )


def passes_at_once(model: Model, batch: Batch) -> int:
    """How many times over the model may read a batch in one pass, within the memory budget."""
    tokens = max(batch.attention.numel(), 1)
    fit = rows_at_once(model.width(model.sites[-1]), _PASS_ARRAYS, model.device) // tokens
    return max(1, min(ROWS_AT_ONCE // len(batch), fit))


def random_directions(count: int, width: int, seed: int) -> Float[Tensor, "k d"]:
    """Unit vectors, uniform on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)


def cause_rows(
    places: list[int],
    choice: list[str],
    directions: Float[Tensor, "k d"],
    response: Response,
    control: Response,
    readout: Readout,
) -> tuple[list[dict[str, object]], pd.DataFrame]:
    """Evidence rows and dose curves of steered concepts.

    Returns:
        Rows of ``causes.readout`` and ``causes.output``, and the curves: ``place, label, dose, logit, logit_low, logit_high,
        null_low, null_high, output, output_null_high``.
    """
    rows: list[dict[str, object]] = []
    curves = []
    slopes, null_slopes = response.slopes(), control.slopes().mean(1)
    top = int(np.argmax(response.doses))
    e = slopes.shape[1]
    for k, place in enumerate(places):
        label = choice[place]
        shift, null_shift = response.output[k, top], control.output[:, top].mean(1)
        error = shift.std(ddof=1) / np.sqrt(e)
        common: dict[str, object] = {"place": place, "label": label, "n": e}
        rows.append(
            common
            | {"metric": "causes.output", "status": "ok", "value": shift.mean(), "null": null_shift.mean()}
            | {"low": shift.mean() - 1.96 * error, "high": shift.mean() + 1.96 * error}
            | {"null_high": np.quantile(null_shift, 0.95), "p": rank_p(shift.mean(), null_shift)}
        )
        if not readout.works_for(label):
            reason = f"the model's output does not tell '{label}' apart, so no readout can be moved" if label else "no label"
            rows.append(common | {"metric": "causes.readout", "status": "failed", "error": reason})
            continue
        column = readout.labels.index(label)
        slope, nulls = slopes[k, :, column], np.abs(null_slopes[:, column])
        error = slope.std(ddof=1) / np.sqrt(e)
        rows.append(
            common
            | {"metric": "causes.readout", "status": "ok", "value": slope.mean(), "null": nulls.mean()}
            | {"low": slope.mean() - 1.96 * error, "high": slope.mean() + 1.96 * error}
            | {"null_high": np.quantile(nulls, 0.95), "p": rank_p(abs(slope.mean()), nulls)}
        )
        curves.append(_curve(place, label, response, control, k, column))
    columns = [
        "place", "label", "dose", "logit", "logit_low", "logit_high", "null_low", "null_high", "output", "output_null_high",
    ]  # fmt: skip
    return rows, pd.concat(curves) if curves else pd.DataFrame(columns=columns)


def _curve(place: int, label: str, response: Response, control: Response, k: int, column: int) -> pd.DataFrame:
    logit, null = response.readout[k, :, :, column], control.readout[:, :, :, column].mean(2)
    error = 1.96 * logit.std(1, ddof=1) / np.sqrt(logit.shape[1])
    table = pd.DataFrame(
        {
            "dose": response.doses,
            "logit": logit.mean(1),
            "logit_low": logit.mean(1) - error,
            "logit_high": logit.mean(1) + error,
            "null_low": np.quantile(null, 0.025, axis=0),
            "null_high": np.quantile(null, 0.975, axis=0),
            "output": response.output[k].mean(1),
            "output_null_high": np.quantile(control.output.mean(2), 0.95, axis=0),
        }
    )
    zero = pd.DataFrame({name: [0.0] for name in table})
    table = pd.concat([table, zero]).sort_values("dose")
    return table.assign(place=place, label=label)[["place", "label", *zero.columns]]


def sensitivity_rows(
    choice: list[str],
    directions: Float[Tensor, "c d"],
    gradients: dict[str, Float[Tensor, "e d"]],
    readout: Readout,
    scale: float,
    seed: int,
    controls: int = 500,
) -> list[dict[str, object]]:
    """Mean directional derivative of the readout's logit for each concept's label: all concepts in one product."""
    rows: list[dict[str, object]] = []
    random = random_directions(controls, directions.shape[1], seed)
    for label in sorted({c for c in choice if c in gradients and readout.works_for(c)}):
        grads = gradients[label]
        if len(grads) < 2:
            continue
        places = [p for p, c in enumerate(choice) if c == label]
        values = (grads @ directions[places].T * scale).numpy()
        null = np.abs((grads.mean(0) @ random.T * scale).numpy())
        mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(len(grads))
        rows += [
            {
                "place": place, "metric": "causes.sensitivity", "label": label, "status": "ok", "value": mean[i], "n": len(grads),
                "low": mean[i] - 1.96 * error[i], "high": mean[i] + 1.96 * error[i], "null": null.mean(),
                "null_high": np.quantile(null, 0.95), "p": rank_p(abs(mean[i]), null),
            }
            for i, place in enumerate(places)
        ]  # fmt: skip
    return rows


def rank_p(value: float, null: Float[np.ndarray, "r"]) -> float:
    """Share of the null at least as large, the observed one counted in."""
    return float((1 + (null >= value).sum()) / (1 + len(null)))
