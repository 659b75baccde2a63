"""Descriptions of reported numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that an analysis or the trial reports, described well enough that a page needs no code of its own for it.

    Attributes:
        key: Stable identifier, ``family.name``.
        title: What a table header says.
        description: One sentence: what the number means and what its null is.
        unit: ``""`` for a share or a score; otherwise ``bits``, ``nats``, ``cosine`` and so on.
        direction: ``up`` when more is better, ``down`` when less is, ``none`` when neither.
        shown: Whether tables show it unasked.
        chance: What the metric reads when there is nothing to see (.5 for an AUROC), or None.
    """

    key: str
    title: str
    description: str
    unit: str = ""
    direction: str = "up"
    shown: bool = True
    chance: float | None = None
