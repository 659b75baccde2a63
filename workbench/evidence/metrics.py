"""Descriptions of the metrics that the trial reports."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.metrics import QUESTIONS, Metric
from workbench.registry import declared_metrics

__all__ = ["BY_KEY", "QUESTIONS", "TRIAL", "metrics_of", "of_family"]

TRIAL = (
    Metric(
        "detects.auroc",
        "AUROC",
        "Area under the ROC curve for the label that it detects best, chosen on the validation split and measured on the test"
        " split; interval over documents (Obuchowski 1997); null: documents dealt one another's labels.",
        chance=0.5,
    ),
    Metric(
        "detects.ap",
        "Average precision",
        "Average precision for the same label on the test split; null: the share of positives.",
        shown=False,
    ),
    Metric(
        "informs.bits",
        "Information",
        "Mutual information of the concept, cut into up to nine bins, with the same label, less its bias: its mean when documents"
        " are dealt one another's labels, so that the null is 0 and the value may be below it.",
        unit="bits",
        chance=0.0,
    ),
    Metric(
        "locates.pointing",
        "Pointing",
        "Share of held-out examples that hold the labelled span where the concept peaks inside it; null: a position at random.",
    ),
    Metric(
        "locates.overlap",
        "Overlap",
        "Share of the concept's positive activation that lies inside the labelled span; null: the span's share of positions.",
        shown=False,
    ),
    Metric(
        "causes.sensitivity",
        "Sensitivity",
        "Mean directional derivative of the frozen readout's logit for its label along the concept, per dose of one deviation"
        " of the activations from their mean; null: random directions, uniform and with the activations' covariance,"
        " the stricter.",
        unit="logits",
        direction="none",
        shown=False,
        chance=0.0,
    ),
    Metric(
        "causes.readout",
        "Readout slope",
        "Change of the frozen readout's logit for its label per dose of one deviation of the activations from their mean,"
        " measured by steering; null: random directions of the same norm, uniform and with the activations'"
        " covariance, the stricter.",
        unit="logits",
        direction="none",
        chance=0.0,
    ),
    Metric(
        "causes.output",
        "Output shift",
        "How far the model's own output moves at the largest dose that leaves it a model: KL of the next-token or"
        " class distribution in nats, or one"
        " minus cosine of the sentence vector; null: random directions of the same norm, the stricter of two kinds.",
        direction="none",
    ),
    Metric(
        "causes.tokens",
        "Own tokens",
        "Change of the log odds that the next token is one of its own (those that follow it in data) when it is added to a causal"
        " model at the recommended dose; null: random directions of the same norm, uniform and with the activations'"
        " covariance, the"
        " stricter of both.",
        unit="nats",
        direction="none",
        chance=0.0,
    ),
    Metric(
        "causes.cost",
        "Cost",
        "Relative change of the next-token loss on held-out text at that dose; null: random directions of the same norm.",
        direction="down",
        shown=False,
        chance=0.0,
    ),
    Metric(
        "causes.push",
        "Recommended push",
        "The norm that is added at the recommended dose: the one that moves its own tokens most while the loss rises by less than"
        " 10%, interval included. A setting, not a score: it has no null.",
        direction="none",
        shown=False,
    ),
    Metric(
        "causes.dose",
        "Recommended dose (earlier unit)",
        "Of evidence from before 'causes.push': the dose that moves its own tokens most while the loss rises by less"
        " than 10%, interval included; in multiples"
        " of the mean norm of an activation at its site. A setting, not a score: it has no null.",
        direction="none",
        shown=False,
    ),
    Metric(
        "stable.cosine",
        "Stability",
        "Cosine with its best match in a run with another seed (for a labelled concept: with that label's concept); null: the"
        " best match of random directions. One other seed gives no interval.",
        unit="cosine",
    ),
    Metric(
        "named.auroc",
        "Name",
        "How well its name, by embedding, predicts the held-out words on which it is present; null: the names of the other"
        " concepts.",
        chance=0.5,
    ),
)

BY_KEY = {metric.key: metric for metric in TRIAL}


def metrics_of(analyses: Iterable[str]) -> dict[str, Metric]:
    """The metrics that evidence may be of, by key: those of the trial, and those that some analyses declare."""
    return {metric.key: metric for name in analyses for metric in declared_metrics(name)} | BY_KEY


def of_family(name: str) -> tuple[Metric, ...]:
    """The metrics of a built-in family."""
    return tuple(metric for metric in TRIAL if metric.key.startswith(f"{name}."))
