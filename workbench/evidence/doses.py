"""Doses that fit a model: found by what random directions of a size cost it.

A dose is a multiple of the site's unit, the root mean square distance of its activations from their mean. How much that is to a
model differs by orders of magnitude, so the doses that are tried are those at which random directions cost about 1, 3 and 10%.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from workbench.conversations import DEFAULT_POSITIONS
from workbench.errors import ConfigError
from workbench.evidence.controls import Controls
from workbench.evidence.passes import pushed_passes, scaled
from workbench.evidence.shifts import output_shift, shift_positions
from workbench.models import Batch, Model, Site
from workbench.progress import UNITS, Progress, silent

COSTS = (0.01, 0.03, 0.10)
"""What random directions cost at the doses that are looked for."""
SMALLER = (0.3, 0.55)
"""Two more doses, as shares of the one that costs 1%: a concept can cost far more than a random direction of its size."""
MOST, LEAST = 4.0, 1e-6
"""The largest and the smallest dose that is tried, in units."""
PAIRS = 6
"""Random directions of each kind, each with its opposite."""
MEASURES = {
    "loss": "relative rise of the next-token loss",
    "divergence": "divergence of the class distribution in nats",
    "angle": "one minus cosine of the sentence vector",
}
# Doses are found to about this factor of the cost: it varies more from one set of random directions to another.
_CLOSE, _TRIES = 1.15, 12


@dataclass(frozen=True)
class Doses:
    """The doses of a site.

    Attributes:
        unit: The norm that a dose of 1 adds.
        found: The doses at which random directions cost `COSTS`; all below `MOST`, where even that costs less.
        costs: What they cost at those doses.
        measure: One of `MEASURES`.
    """

    unit: float
    found: tuple[float, ...]
    costs: tuple[float, ...]
    measure: str

    @property
    def curve(self) -> tuple[float, ...]:
        """The doses of a curve, ascending."""
        return (*(share * self.found[0] for share in SMALLER), *self.found)

    @property
    def both_signs(self) -> tuple[float, ...]:
        """The two larger doses and their opposites, ascending."""
        return (-self.found[2], -self.found[1], self.found[1], self.found[2])

    def cost_at(self, dose: float) -> float:
        """What random directions cost at a dose: interpolated on log scales; beyond the doses found it is as the square."""
        x, y = np.log(self.found), np.log(np.maximum(self.costs, 1e-9))
        at = np.log(max(abs(dose), 1e-12))
        if at < x[0] or at > x[-1]:
            near = 0 if at < x[0] else -1
            return float(np.exp(y[near] + 2 * (at - x[near])))
        return float(np.exp(np.interp(at, x, y)))

    def to_json(self) -> str:
        """For the catalog."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(record: dict[str, Any]) -> Doses:
        """What `to_json` wrote."""
        found, costs = tuple(map(float, record["found"])), tuple(map(float, record["costs"]))
        return Doses(float(record["unit"]), found, costs, str(record["measure"]))


class Search:
    """Progress of a search for doses, whose number of tries is not known in advance.

    A search takes five tries, where a model is hardly moved at all, to nine; in the middle 2.7 for the first dose, for nothing is
    known, and two for each other one.
    """

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress, self._what = progress, what
        self._left, self._begin, self._share = [2.7, *[2.0] * (len(COSTS) - 1)], 0.0, 0.0

    def next_try(self) -> None:
        """Count the try before as done."""
        self._begin += self._share
        left = max(self._left[0], 1) + sum(self._left[1:]) if self._left else 1
        self._share = (1 - self._begin) / left
        self._left[:1] = [part - 1 for part in self._left[:1]]
        self.part(0, 1, "")

    def found(self) -> None:
        """Count another dose as found."""
        self._left = self._left[1:]

    def part(self, done: int, total: int, _text: str) -> None:
        """Report the progress of the current try."""
        self._progress(round(UNITS * (self._begin + self._share * done / max(total, 1))), UNITS, self._what)


def find_doses(cost_of: Callable[[float], float], unit: float, measure: str, search: Search | None = None) -> Doses:
    """Look for the doses at which random directions cost `COSTS`, the largest first, by bisection on log scales.

    Args:
        cost_of: The mean cost of random directions at a dose.
        unit: The norm of a dose of 1.
        measure: One of `MEASURES`.
        search: Told of each try.

    Raises:
        ConfigError: Even the smallest dose costs more than is looked for.
    """
    known: dict[float, float] = {}
    search = search or Search(silent, "")

    def cost(dose: float) -> float:
        if dose not in known:
            search.next_try()
            value = cost_of(dose)
            known[dose] = max(value, 1e-9) if np.isfinite(value) else np.inf
        return known[dose]

    found = []
    for target in reversed(COSTS):
        found.append(_one(cost, known, target))
        search.found()
    if found[0] >= MOST:
        # Such a model is hardly moved at all: doses as far apart as they are where the cost grows as the square of the dose.
        found = [min(dose, MOST * float(np.sqrt(c / COSTS[-1]))) for dose, c in zip(found, reversed(COSTS), strict=True)]
    doses = tuple(sorted(found))
    return Doses(unit, doses, tuple(cost(dose) for dose in doses), measure)


def _one(cost: Callable[[float], float], known: dict[float, float], target: float) -> float:
    low, high = _bracket(cost, known, target)
    for _ in range(_TRIES):
        if low == high:
            return low
        # Where both ends are finite, along the line between them on log scales; else in the middle.
        a, b = known[low], known[high]
        share = np.log(target / a) / np.log(b / a) if np.isfinite(b) and b > a else 0.5
        dose = float(np.exp(np.log(low) + float(np.clip(share, 0.1, 0.9)) * np.log(high / low)))
        if max(cost(dose) / target, target / cost(dose)) < _CLOSE:
            return dose
        low, high = (dose, high) if cost(dose) < target else (low, dose)
    return low


def _bracket(cost: Callable[[float], float], known: dict[float, float], target: float) -> tuple[float, float]:
    """A dose that costs less and one that costs more; the same twice where the largest costs less."""
    below = [dose for dose, value in known.items() if value < target]
    above = [dose for dose, value in known.items() if value >= target]
    low, high = max(below, default=0.0), min(above, default=0.0)
    if not high:
        high = max(low, 0.25)
        while cost(high) < target:
            if high >= MOST:
                return MOST, MOST
            low, high = high, min(4 * high, MOST)
    low = low if 0 < low < high else high / 4
    while cost(low) >= target:
        if low <= LEAST:
            raise ConfigError(
                f"Random directions of {low:g} times the deviation of the activations cost {cost(low):.0%}: the model is"
                " destroyed by the smallest change, so no dose can be tried. Look at its weights, or steer at another site."
            )
        low, high = max(low / 4, LEAST), low
    return low, high


def shift_of_random(
    model: Model,
    site: Site,
    controls: Controls,
    unit: float,
    batch: Batch,
    positions: str = DEFAULT_POSITIONS,
    progress: Progress | None = None,
) -> Callable[[float], float]:
    """What random directions of a dose do to a model's output (see `output_shift`): the mean of the costlier kind."""
    base, _ = model.forward(batch, logits=False)
    keep, few = shift_positions(base, batch), controls.some(PAIRS)

    def cost(dose: float) -> float:
        pushes = scaled(few.directions, [-dose * unit, dose * unit])
        passes = pushed_passes(model, site, pushes, batch, positions, progress)
        shifts = [output_shift(base, output, keep) for _, output in passes]
        of_each = torch.cat(shifts).reshape(len(few), -1).mean(1).cpu().numpy()
        return float(few.most(lambda values: values.mean(0), of_each))

    return cost
