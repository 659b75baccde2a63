"""Linear probes as scikit-learn estimators, and their controls."""

from __future__ import annotations

from probes.controls import (
    Selectivity,
    control_task,
    known_rate,
    majority_accuracy,
    random_direction_accuracy,
    selectivity,
    shuffled_label_accuracy,
    shuffled_labels,
)
from probes.directions import Directions, estimate_directions
from probes.logistic import LogisticProbe

__all__ = [
    "Directions",
    "LogisticProbe",
    "Selectivity",
    "control_task",
    "estimate_directions",
    "known_rate",
    "majority_accuracy",
    "random_direction_accuracy",
    "selectivity",
    "shuffled_label_accuracy",
    "shuffled_labels",
]
