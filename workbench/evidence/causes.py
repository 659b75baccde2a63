"""Causes: what writing a concept into the model does, against random directions of the same norm.

A dose is a multiple of the site's unit, the deviation of its activations from their mean, so every concept and every control of a
site is given exactly the same push, in its own direction. Negative doses are the sign-flipped control. The doses are those at
which random directions cost the model little, see `workbench.evidence.doses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from workbench.conversations import DEFAULT_POSITIONS
from workbench.evidence.controls import Controls
from workbench.evidence.passes import passes_and_readings, pushed_passes, scaled
from workbench.evidence.shifts import output_shift, reading_share, shift_positions
from workbench.progress import Progress, silent
from workbench.readout import Readout
from workbench.statistics.directional import Beyond, against_directions, larger_than_directions
from workbench.statistics.directions import isotropic_directions as random_directions
from workbench.statistics.intervals import mean_interval
from workbench.statistics.nulls import upper
from workbench.statistics.rows import Null, row

if TYPE_CHECKING:
    from workbench.models import Model, Site

__all__ = ["Response", "cause_rows", "dose_response", "random_directions", "sensitivity_rows"]

RANDOM_DIRECTIONS = 79
"""Of each kind."""
LINEAR_CONTROLS = 2000
"""Of each kind, where a product tells the effect."""
TESTED_TOGETHER = {
    "causes.readout": "readout slopes of all concepts steered in this examination",
    "causes.output": "output shifts of all concepts steered in this examination",
    "causes.tokens": "own tokens of all concepts steered in this examination",
    "causes.sensitivity": "the sensitivity of every concept of the run",
}


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

    def slopes(self, most: float = np.inf) -> Float[np.ndarray, "k e l"]:
        """Least-squares slope through the origin of every logit on the dose, over the doses of a size up to ``most``."""
        weights = np.where(np.abs(self.doses) <= most, self.doses, 0)
        return np.einsum("kqel,q->kel", self.readout, weights / np.square(weights).sum())

    def largest(self, k: int, limit: float) -> float | None:
        """The largest size of a dose at which a direction moves the output by less than ``limit``, with either sign; or None."""
        moved = self.output[k].mean(-1)
        fine = [s for s in np.unique(np.abs(self.doses)) if (moved[np.abs(self.doses) <= s] < limit).all()]
        return float(fine[-1]) if fine else None


def dose_response(
    model: Model,
    site: Site,
    directions: Float[Tensor, "k d"],
    inputs: Sequence[object],
    readout: Readout,
    unit: float,
    doses: Sequence[float],
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
        unit: The norm that dose 1 adds.
        doses: Without zero; zero's effect is zero.
        positions: Which positions those are, see `workbench.conversations.POSITIONS`.
        progress: Called with ``(done, total, text)``.
    """
    batch = model.batch(list(inputs))
    base, _ = model.forward(batch, logits=False)
    keep, logits = shift_positions(base, batch), readout.logits(base.pooled.float())
    what = f"dose response at {site}, {len(directions)} directions"
    pushes = scaled(directions, [dose * unit for dose in doses])
    effect = np.zeros((len(pushes), len(inputs), len(readout.labels)), dtype=np.float32)
    shift = np.zeros(effect.shape[:2], dtype=np.float32)
    share = 0.0
    if base.tokens is not None:
        share = reading_share(model, site, keep.numel(), int(keep.sum()), base.tokens.block(0, 1).shape[1])
    passing, reading = passes_and_readings(progress or silent, what, len(pushes), share)
    for part, edited in pushed_passes(model, site, pushes, batch, positions, passing):
        change = readout.logits(edited.pooled.float()).reshape(-1, *logits.shape) - logits
        effect[part] = change.cpu().numpy()
        of_part = partial(reading, part.start, part.stop)
        shift[part] = output_shift(base, edited, keep, of_part).reshape(len(change), -1).cpu().numpy()
    shape = (len(directions), len(doses))
    return Response(np.asarray(doses, np.float32), effect.reshape(*shape, *effect.shape[1:]), shift.reshape(*shape, len(inputs)))


@dataclass(frozen=True)
class Steered:
    """Concepts of a site that were steered, with what they are held against.

    Attributes:
        choice: The label of every concept of the set.
        response: Of the steered ones.
        control: Of `controls`.
        controls: The random directions.
        readout: The frozen readout.
        clusters: The document of each input, ``[e]``.
        limit: The shift of the output from which on the model counts as destroyed.
        unit: The norm that dose 1 adds.
    """

    choice: Sequence[str]
    response: Response
    control: Response
    controls: Controls
    readout: Readout
    clusters: Int[np.ndarray, "e"]
    limit: float
    unit: float


CURVE_COLUMNS = [
    "place", "label", "dose", "norm", "logit", "logit_low", "logit_high", "null_low", "null_high", "output", "output_null_high",
]  # fmt: skip


def cause_rows(places: Sequence[int], steered: Steered) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Evidence rows and dose curves of the concepts at some places, which ``steered.response`` holds in this order.

    A concept is judged at the doses up to the largest that leaves the model a model; where there is none, its rows are failed.

    Returns:
        Rows of ``causes.readout`` and ``causes.output``, and the curves, with `CURVE_COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    curves = []
    for k, place in enumerate(places):
        label, most = steered.choice[place], steered.response.largest(k, steered.limit)
        common: dict[str, Any] = {"place": place, "label": label}
        e = steered.response.output.shape[2]
        if most is None:
            least = np.abs(steered.response.doses).min()
            moved = float(steered.response.output[k][np.abs(steered.response.doses) == least].mean(-1).max())
            reason = (
                f"the model is destroyed at the smallest dose, {least:.3g}: its output moves by {moved:.3g}, and beyond"
                f" {steered.limit:g} no effect of a concept can be told"
            )
            rows += [
                common | {"metric": metric, "status": "failed", "error": reason, "n": e}
                for metric in ("causes.readout", "causes.output")
            ]
            continue
        rows.append(common | _output_row(steered, k, most))
        if reason := _no_readout(label, steered.readout):
            rows.append(common | {"metric": "causes.readout", "status": "failed", "error": reason})
            continue
        column = steered.readout.labels.index(label)
        rows.append(common | _readout_row(steered, k, column, most))
        curves.append(_curve(place, label, steered, k, column))
    return rows, pd.concat(curves) if curves else pd.DataFrame(columns=CURVE_COLUMNS)


def _no_readout(label: str, readout: Readout) -> str:
    """Why no readout of a label can be moved; empty where one can."""
    if not label:
        return "no label"
    return "" if readout.works_for(label) else f"the model's output does not tell '{label}' apart, so no readout can be moved"


def _output_row(steered: Steered, k: int, most: float) -> dict[str, Any]:
    at = int(np.argmin(np.abs(steered.response.doses - most)))
    shift, null = steered.response.output[k, at], steered.control.output[:, at].mean(1)
    return _row("causes.output", shift, steered.clusters, larger_than_directions(shift.mean(), steered.controls.draws(null)))


def _readout_row(steered: Steered, k: int, column: int, most: float) -> dict[str, Any]:
    slope = steered.response.slopes(most)[k, :, column]
    nulls = steered.control.slopes(most)[:, :, column].mean(1)
    return _row("causes.readout", slope, steered.clusters, against_directions(slope.mean(), steered.controls.draws(nulls)))


def _row(metric: str, values: Float[np.ndarray, "e"], clusters: Int[np.ndarray, "e"], beyond: Beyond) -> dict[str, Any]:
    low, high = (float(end[0]) for end in mean_interval(values[:, None], clusters))
    null = Null(float(beyond.null), float(beyond.high), float(beyond.p), TESTED_TOGETHER[metric])
    return row(metric, float(values.mean()), null, n=len(values), low=low, high=high, clusters=len(np.unique(clusters)))


def band(effects: Float[np.ndarray, "r q"]) -> tuple[np.ndarray, np.ndarray]:
    """The two values between which 95% of further directions fall; the range of the draws where they are fewer than 39."""
    if len(effects) < 39:
        return effects.min(0), effects.max(0)
    return -upper(-effects, 0.975), upper(effects, 0.975)


def _curve(place: int, label: str, steered: Steered, k: int, column: int) -> pd.DataFrame:
    response, control = steered.response, steered.control
    logit, null = response.readout[k, :, :, column], control.readout[:, :, :, column].mean(2)
    interval = mean_interval(logit.T, steered.clusters)
    lows, highs = zip(*(band(kind.effects) for kind in steered.controls.draws(null)), strict=True)
    table = pd.DataFrame(
        {
            "dose": response.doses,
            "norm": response.doses * steered.unit,
            "logit": logit.mean(1),
            "logit_low": interval.low,
            "logit_high": interval.high,
            "null_low": np.min(lows, axis=0),
            "null_high": np.max(highs, axis=0),
            "output": response.output[k].mean(1),
            "output_null_high": steered.controls.most(upper, control.output.mean(2)),
        }
    )
    zero = pd.DataFrame({name: [0.0] for name in table})
    return pd.concat([table, zero]).sort_values("dose").assign(place=place, label=label)[CURVE_COLUMNS]


def sensitivity_rows(
    choice: Sequence[str],
    directions: Float[Tensor, "c d"],
    gradients: dict[str, Float[Tensor, "e d"]],
    clusters: dict[str, Int[np.ndarray, "e"]],
    readout: Readout,
    unit: float,
    controls: Controls,
) -> list[dict[str, Any]]:
    """Mean directional derivative of the readout's logit for each concept's label: all concepts in one product.

    Args:
        choice: The label of each concept.
        directions: Unit vectors.
        gradients: Of each label's logit on inputs that have it.
        clusters: The documents of those inputs.
        readout: The frozen readout.
        unit: The norm that dose 1 adds.
        controls: Random directions; a product tells their effects, so there can be thousands.
    """
    rows: list[dict[str, Any]] = []
    for label in sorted(set(choice)):
        places = [p for p, c in enumerate(choice) if c == label]
        reason = _no_readout(label, readout)
        if not reason and len(gradients.get(label, ())) < 2:
            reason = f"fewer than two examples have '{label}'"
        if reason:
            failed = {"metric": "causes.sensitivity", "label": label, "status": "failed", "error": reason}
            rows += [failed | {"place": place} for place in places]
            continue
        grads = gradients[label].double()
        values = (grads @ directions[places].double().T * unit).numpy()
        null = (controls.directions.double() @ grads.mean(0) * unit).numpy()
        kinds = [kind._replace(effects=kind.effects[:, None]) for kind in controls.draws(null)]
        found, interval = against_directions(values.mean(0), kinds), mean_interval(values, clusters[label])
        documents = len(np.unique(clusters[label]))
        rows += [
            row(
                "causes.sensitivity", float(values[:, i].mean()),
                Null(float(found.null[0]), float(found.high[0]), float(found.p[i]), TESTED_TOGETHER["causes.sensitivity"]),
                n=len(grads), low=float(interval.low[i]), high=float(interval.high[i]), clusters=documents, place=place,
                label=label,
            )
            for i, place in enumerate(places)
        ]  # fmt: skip
    return rows
