"""Tables and evidence rows of a steered concept: dose curves beside those of its controls, and effect and cost at its dose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.evidence.causes import TESTED_TOGETHER, band
from workbench.evidence.control_readings import ControlReadings
from workbench.evidence.doses import Doses
from workbench.evidence.shifts import DESTROYED
from workbench.evidence.steering import Arms, Passages, Reading
from workbench.statistics.directional import against_directions
from workbench.statistics.nulls import upper
from workbench.statistics.rows import NoNull, Null, row

COST = 0.10
ARMS = {
    "concept": "the concept's direction",
    "flipped": "the same direction, sign-flipped",
    "shuffled": "its coordinates shuffled",
    "random": "random directions",
    "matched": "random directions with the covariance of the activations",
}


def dose_table(arms: Arms, control: ControlReadings, column: int, passages: Passages, doses: Doses) -> pd.DataFrame:
    """The dose curves of one concept and its controls.

    ``column`` is the concept's token set in ``control``; its own arms follow that set alone.

    Returns:
        One row an arm and dose: ``arm, dose, norm`` (what is added), then ``odds`` (change of log odds of its own tokens),
        ``cost`` (relative change of the loss) and ``kl``, each with ``_low`` and ``_high``: 95% intervals over documents for one
        direction, for an arm of several what 95% of further directions fall between, or their range where they are few;
        ``odds_null`` is the size that 5% of random directions exceed at that dose, of the stricter kind.
    """
    base = passages.loss.mean()
    drawn = [control.odds(at, column) for at in range(len(doses.curve))]
    null = [controls.most(upper, np.abs(odds)) for controls, odds in drawn]
    tables = []
    arms_of: list[tuple[str, Reading, int]] = [
        ("concept", arms.concept, 0), ("flipped", arms.flipped, 0), ("shuffled", arms.shuffled, 0),
        ("random", control.arm("random"), column), ("matched", control.arm("matched"), column),
    ]  # fmt: skip
    for arm, reading, place in arms_of:
        if not len(reading.loss):
            continue
        measures = {"odds": reading.odds[..., place], "cost": reading.loss / base, "kl": reading.divergence}
        table = pd.DataFrame({"arm": arm, "dose": [0.0, *doses.curve], "odds_null": [0.0, *map(float, null)]})
        table.insert(2, "norm", table["dose"] * doses.unit)
        for name, values in measures.items():
            if len(values) == 1:
                mean, (low, high) = passages.over_texts(values[0])
            else:
                means = values.mean(-1)
                mean, (low, high) = means.mean(0), band(means)
            for suffix, column_values in zip(("", "_low", "_high"), (mean, low, high), strict=True):
                table[f"{name}{suffix}"] = np.concatenate([[0.0], column_values])
        tables.append(table)
    return pd.concat(tables).reset_index(drop=True)


def recommended(concept: Reading, passages: Passages, doses: Sequence[float], most: float = COST) -> float | None:
    """The dose that moves the concept's own tokens most among those whose cost stays below ``most``, interval included.

    ``concept`` is the reading of its direction alone, at ``doses``. No random direction is looked at, so what they do at that
    dose is a fair null.
    """
    _, (_, cost_high) = passages.over_texts(concept.loss[0] / passages.loss.mean())
    moved = np.where(cost_high < most, np.abs(concept.odds[0, ..., 0].mean(-1)), -1.0)
    return doses[int(moved.argmax())] if moved.max() >= 0 else None


def steering_rows(
    arms: Arms, control: ControlReadings, column: int, passages: Passages, doses: Doses
) -> tuple[list[dict[str, Any]], float | None]:
    """Evidence of one steered concept at its recommended dose, and that dose; failed, with the reason, where there is none."""
    texts, documents = len(passages.batch), len(np.unique(passages.clusters))
    cost, (low, high) = passages.over_texts(arms.concept.loss[0] / passages.loss.mean())
    dose = recommended(arms.concept, passages, doses.curve)
    if dose is None:
        reason = _no_dose(cost, high, documents, doses)
        return [{"metric": m, "status": "failed", "error": reason, "n": texts} for m in ("causes.tokens", "causes.cost")], None
    at = doses.curve.index(dose)
    odds, (odds_low, odds_high) = passages.over_texts(arms.concept.odds[0, ..., 0])
    controls, random = control.odds(at, column)
    found = against_directions(odds[at], controls.draws(random))
    cost_high = control.at(at)[1].loss[:, 0].mean(-1) / passages.loss.mean()
    null = Null(float(found.null), float(found.high), float(found.p), TESTED_TOGETHER["causes.tokens"])
    cost_null = Null(float(controls.most(lambda v: v.mean(0), cost_high)), float(controls.most(upper, cost_high)))
    counts: dict[str, Any] = {"n": texts, "clusters": documents}
    return [
        row("causes.tokens", float(odds[at]), null, low=float(odds_low[at]), high=float(odds_high[at]), **counts),
        row("causes.cost", float(cost[at]), cost_null, low=float(low[at]), high=float(high[at]), **counts),
        row("causes.push", dose * doses.unit, NoNull("a setting"), **counts),
    ], dose


def _no_dose(cost: Float[np.ndarray, "q"], high: Float[np.ndarray, "q"], documents: int, doses: Doses) -> str:
    least = f"the smallest dose, {doses.curve[0]:.3g} times the deviation of the activations,"
    if documents < 2:
        return "the cost has no interval: all texts are of one document, and two are the least"
    if not cost[0] < DESTROYED["loss"]:
        return f"{least} destroys the model: it costs {cost[0]:.0%} of the loss"
    return f"even {least} costs up to {high[0]:.0%} of the loss"
