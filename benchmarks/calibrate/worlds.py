"""Scores and labels of documents of several examples of several tokens, in the settings in which scores are used."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class World(NamedTuple):
    """Rows in the order of the text.

    Attributes:
        scores: ``[n, c]``: codes of concepts.
        labels: ``[n, c]`` of 0 and 1: one label a concept.
        example: ``[n]``.
        document: ``[n]``: the cluster; of copies, their text.
    """

    scores: Float[np.ndarray, "n c"]
    labels: Float[np.ndarray, "n c"]
    example: Int[np.ndarray, "n"]
    document: Int[np.ndarray, "n"]


SETTINGS = (
    "independent", "documents", "runs", "rare label", "eight positive documents", "sparse codes", "heavy tails", "copies",
    "unequal documents",
)  # fmt: skip
FEW_LONG, LONG = "few long documents", 5
"""A setting in which so many documents are ten times as long as the others, with almost all positives."""
DOCUMENTS, EXAMPLES, TOKENS = 30, 4, 10


def world(setting: str, rng: np.random.Generator, concepts: int = 50, effect: float = 0.0, documents: int = DOCUMENTS) -> World:
    """Draw one. Scores share a part by document and a part by example, as activations do; ``effect`` is added where the label is.

    With effect 0 scores and labels have nothing to do with each other.
    """
    sizes = np.full(documents, EXAMPLES * TOKENS)
    if setting == "unequal documents":
        sizes = np.maximum(4, rng.lognormal(np.log(EXAMPLES * TOKENS), 0.8, documents)).astype(np.int64)
    elif setting == FEW_LONG:
        sizes[:LONG] *= 10
    document = np.repeat(np.arange(documents), sizes)
    example = np.cumsum(np.concatenate([[0], (np.arange(1, len(document)) % TOKENS == 0) | (np.diff(document) > 0)]))
    n = len(document)
    scores = rng.normal(size=(n, concepts)) + rng.normal(size=(example[-1] + 1, concepts))[example]
    scores += rng.normal(size=(documents, concepts))[document]
    labels = _labels(setting, rng, document, example, concepts, documents)
    scores = scores + effect * labels
    if setting == "sparse codes":
        scores = np.maximum(scores - 2.5, 0)
    elif setting == "heavy tails":
        scores = np.sinh(scores)
    elif setting == "copies":
        # Every text three times: three examples, one text, one cluster.
        scores, labels, document = np.tile(scores, (3, 1)), np.tile(labels, (3, 1)), np.tile(example, 3)
        example = np.concatenate([example + i * (example[-1] + 1) for i in range(3)])
    return World(scores, labels, example, document)


def _labels(
    setting: str, rng: np.random.Generator, document: np.ndarray, example: np.ndarray, concepts: int, documents: int
) -> Float[np.ndarray, "n c"]:
    n = len(document)
    if setting == "documents":
        return (rng.random((documents, concepts)).argsort(axis=0) < documents // 3)[document].astype(float)
    if setting == "eight positive documents":
        return ((rng.random((documents, concepts)).argsort(axis=0) < 8)[document] & (rng.random((n, concepts)) < 0.5)).astype(
            float
        )
    if setting == "copies":
        return (rng.random((example[-1] + 1, concepts)) < 0.3)[example].astype(float)
    if setting == "unequal documents":
        return (rng.random((n, concepts)) < rng.beta(0.5, 2, size=(documents, concepts))[document]).astype(float)
    if setting == "runs":
        labels = np.zeros((n, concepts))
        for column in range(concepts):
            starts = rng.integers(0, n - 8, n // 80)
            labels[np.unique(starts[:, None] + np.arange(8)), column] = 1
        return labels
    share: float | np.ndarray = 0.03 if setting == "rare label" else 0.1
    if setting == FEW_LONG:
        share = np.select([document < LONG, document < LONG + 10], [0.5, 2 / (EXAMPLES * TOKENS)])[:, None]
    return (rng.random((n, concepts)) < share).astype(float)
