"""What random directions do to the next tokens of a causal model: some at every dose, and more at those where a p is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from workbench.evidence.controls import Controls
from workbench.evidence.doses import Doses
from workbench.evidence.steering import CURVE_RANDOM, Passages, Reading, steer_passages
from workbench.models import Model, Site
from workbench.progress import Progress, shares, silent


@dataclass(frozen=True)
class ControlReadings:
    """What random directions did, with one token set a concept.

    Attributes:
        curve: The directions that were tried at every dose.
        reading: Of `curve`, at every dose.
        further: The other directions.
        more: Of `further`, by the index of the dose, at the doses at which a concept is judged.
    """

    curve: Controls
    reading: Reading
    further: Controls
    more: dict[int, Reading]

    def at(self, dose: int) -> tuple[Controls, Reading]:
        """All directions that were tried at one of the doses, and their reading at it alone."""
        alone = self.reading.dose(dose)
        if dose not in self.more:
            return self.curve, alone
        first, then = len(self.curve.isotropic), len(self.further.isotropic)
        more = self.more[dose]

        def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            # The uniform ones of both come first, as they do in `Controls.directions`.
            return np.concatenate([a[:first], b[:then], a[first:], b[then:]])

        both = Reading(joined(alone.odds, more.odds), joined(alone.loss, more.loss), joined(alone.divergence, more.divergence))
        return self.curve.and_more(self.further), both

    def odds(self, dose: int, column: int) -> tuple[Controls, Float[np.ndarray, "k"]]:
        """The directions that were tried at a dose, and each one's change of a token set's log odds, mean over texts."""
        controls, reading = self.at(dose)
        return controls, reading.odds[:, 0, :, column].mean(-1)

    def arm(self, kind: str) -> Reading:
        """Of the uniform directions of the curve, ``random``, or the others, ``matched``."""
        uniform = len(self.curve.isotropic)
        return self.reading.of(slice(0, uniform) if kind == "random" else slice(uniform, None))


def read_controls(
    model: Model,
    site: Site,
    controls: Controls,
    doses: Doses,
    judged: Sequence[float],
    passages: Passages,
    sets: Sequence[Int[Tensor, "m"]],
    progress: Progress | None = None,
) -> ControlReadings:
    """Steer by random directions: by some at every dose, by all at the doses at which concepts are ``judged``."""
    curve, further = controls.some(CURVE_RANDOM), controls.after(CURVE_RANDOM)
    wanted = sorted({doses.curve.index(dose) for dose in judged}) if len(further) else []
    work = [len(curve) * len(doses.curve), len(further) * len(wanted)]
    of_curve, of_more = shares(progress or silent, work)
    reading = steer_passages(model, site, curve.directions, doses.curve, doses.unit, passages, sets, of_curve)
    more: dict[int, Reading] = {}
    if wanted:
        chosen = [doses.curve[at] for at in wanted]
        found = steer_passages(model, site, further.directions, chosen, doses.unit, passages, sets, of_more)
        more = {at: found.dose(place) for place, at in enumerate(wanted)}
    return ControlReadings(curve, reading, further, more)
