"""Progress of a training whose steps become slower once there are dead latents.

The auxiliary loss that revives dead latents decodes them once more, and densely: a step with it takes 1.3 to 2 times as long,
about the same for one dead latent as for all. No latent can be dead before a window has gone by without it, a tenth of the
training, so the first steps say nothing of what the rest will cost.
"""

from __future__ import annotations

from statistics import median

# The ratio of the two costs where it is not measured yet: between those of small and of large dictionaries.
USUAL_RATIO = 1.65
# Steps of a kind whose median is its cost.
_RECENT, _LEAST = 25, 3
# The units in which progress is reported.
WHOLE = 100_000


class StepCosts:
    """Estimates the share of a training that is done from the cost of its steps.

    Args:
        steps: Of the whole training.
        window: Steps without a latent after which it is dead.
    """

    def __init__(self, steps: int, window: int) -> None:
        self._steps, self._window = steps, window
        self._plain: list[float] = []
        self._reviving: list[float] = []
        self._done = 0.0

    def add(self, seconds: float, *, revives: bool, revives_soon: bool) -> None:
        """Add a step: its seconds, whether it had dead latents, and whether the next steps are likely to."""
        (self._reviving if revives else self._plain).append(seconds)
        did = len(self._plain) + len(self._reviving)
        left = self._steps - did
        # Before the window is over no step has dead latents.
        plain = min(left, max(0, self._window - did)) if revives or revives_soon else left
        rest = plain + (left - plain) * self.ratio
        cost = self.ratio if revives else 1.0
        # Of what was left, the share that this step is of it and the rest, as that looks now: what was thought before of the
        # rest does not change the pace.
        self._done += (1 - self._done) * cost / (cost + rest)

    @property
    def ratio(self) -> float:
        """What a step with dead latents costs, in steps without; measured where there were some of both."""
        if min(len(self._plain), len(self._reviving)) < _LEAST:
            return USUAL_RATIO
        return median(self._reviving[:_RECENT]) / median(self._plain[-_RECENT:])

    def progress(self) -> tuple[int, int]:
        """The work done and the whole work. Equal parts of it take the same time, as far as that is known."""
        return round(WHOLE * self._done), WHOLE
