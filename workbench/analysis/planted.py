"""What an analysis says of how it is tested: the world in which it has to find what was planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.store.runs import Run


@dataclass(frozen=True)
class Planted:
    """The world with known truth in which `workbench.testing` runs an analysis.

    Attributes:
        world: A name of `workbench.testing.WORLDS`, or a function that makes a world, called as those are and
            returning a `workbench.testing.World`.
        options: Options of the analysis for this world.
        score: How well a run found what was planted, from the run and the world; the mean over the planted directions of the
            largest absolute cosine with a direction of the run, where this is left out.
        least: The least score.
        in_noise: The options for worlds in which nothing is planted, where they differ.
    """

    world: str | Callable[..., Any] = "directions"
    options: Mapping[str, Any] = field(default_factory=dict)
    score: Callable[[Run, Any], float] | None = None
    least: float = 0.8
    in_noise: Mapping[str, Any] | None = None
