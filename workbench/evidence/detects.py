"""The family *detects*: the AUROC of each concept for its label, beside what anybody gets for free."""

from __future__ import annotations

from workbench.evidence.attempts import Found
from workbench.evidence.baselines import baseline_table, best_by_label
from workbench.evidence.family import Family, Tried
from workbench.evidence.metrics import QUESTIONS, of_family


class Detects(Family):
    """Whether a concept tells a labelled one apart."""

    name = "detects"
    question = QUESTIONS["detects"]
    metrics = of_family("detects")

    def measure(self, tried: Tried) -> Found:
        """The rows of the pass in which labels were chosen, and beside the best of a whole set what anybody gets for free."""
        labels = best_by_label(tried.detection.matrix)
        # The best of a selection cannot be compared with the best of all random concepts.
        if len(labels) and tried.whole:
            tried.progress(0, 1, f"baselines at {tried.concepts.site}")
            baselines = baseline_table(tried.concepts, tried.validation, tried.test, tried.seed)
            labels = labels.merge(baselines, on="label", how="left")
        return tried.detection.of_family("detects"), {"labels": labels}
