"""Descriptions of reported numbers."""

from __future__ import annotations

from dataclasses import dataclass

QUESTIONS = {
    "detects": "Detects: does it tell a labelled concept apart on held-out data?",
    "informs": "Informs: how many bits does it carry about that label?",
    "locates": "Locates: is its peak where the concept is?",
    "causes": "Causes: does writing it move the model's output?",
    "stable": "Stable: does another seed find it again?",
    "named": "Named: does its name say where it is present?",
}
"""What the trial asks, by the family of evidence: the part of a metric's key before the dot. Registered families are added."""


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


OF_HEAD_EDITS = (
    Metric(
        "head.accuracy",
        "Accuracy",
        "Share of the test examples whose class the head predicts, before and after the edit; interval over documents; null:"
        " always the most frequent class.",
    ),
    Metric(
        "head.change",
        "Change of accuracy",
        "How much more of the test examples are predicted after the edit; interval over documents, of the difference.",
        direction="none",
        chance=0.0,
    ),
    Metric("head.r2", "R²", "Share of the variance on the test split that is predicted, before and after; null: the mean."),
    Metric("head.changed", "Changed", "Share of the test examples that get another class by the edit.", direction="none"),
    Metric("head.moved", "Moved", "Mean absolute change of a prediction on the test split.", direction="none"),
)
"""What an edit of a head measures."""
