"""Names from a vocabulary, by embedding.

A concept's strongest examples (none of them from the test split) each offer the word at the peak. A vocabulary word's score is
its mean cosine with those words, weighted by how strongly the concept was present, less its mean score over all concepts: a word
that is near everything names nothing. The same idea as Discover-then-Name (Rao et al., 2024), with words in the place of images.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.analysis import Progress
from workbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.store.bound import BoundConcepts
    from workbench.store.runs import Run

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def word_at(text: str, start: int, end: int) -> str:
    """The whole word that holds the characters ``start`` to ``end``, lower case; the characters themselves between words."""
    low, high = max(0, start - 40), min(len(text), end + 40)
    for match in WORD.finditer(text, low, high):
        if match.start() < end and match.end() > start:
            return match.group().lower()
    return text[start:end].strip().lower() or " "


def peak_words(run: Run, dataset: Dataset, numbers: list[int], top: int = 12) -> pd.DataFrame:
    """The word at the peak of each of a concept's strongest examples: ``number, rank, word, value``."""
    examples = run.tables["examples"]
    examples = examples[examples["number"].isin(numbers) & (examples["rank"] < top)]
    acts = run.study.activation_set(run.record["inputs"]["activations"])
    if dataset.modality != "text":
        raise DataError(f"Data set '{dataset.name}' holds images; names from a vocabulary need texts.")
    whole = examples["position"].lt(0)
    if whole.any():
        examples = examples[~whole]
    index = acts.index
    example = index["example"].to_numpy()
    stride = int(index["position"].max()) + 2
    rows = np.searchsorted(
        example.astype(np.int64) * stride + index["position"].to_numpy(),
        (examples["example"] * stride + examples["position"]).to_numpy(),
    )
    starts, ends = index["start"].to_numpy()[rows], index["end"].to_numpy()[rows]
    texts = dataset.table["text"].to_numpy()[examples["example"]]
    words = [word_at(t, int(s), int(e)) for t, s, e in zip(texts, starts, ends, strict=True)]
    return examples[["number", "rank", "value"]].assign(word=words)


def name_concepts(
    concepts: BoundConcepts,
    vocabulary: str | list[str] = "common-words",
    top: int = 12,
    *,
    progress: Progress,
) -> pd.DataFrame:
    """Name every unlabelled concept of a run; names already given by a person stay current.

    Args:
        concepts: ``run.concepts``.
        vocabulary: A bundled vocabulary's name, a file with one word a line, or the words.
        top: How many examples vote.
        progress: Called with ``(done, total, text)``.

    Returns:
        ``concept, text, confidence, words``: the confidence is the mean cosine of the name with the peak words, less that of
        the average concept.

    Raises:
        ConfigError: The vocabulary is empty.
        DataError: The data are not texts.
    """
    from workbench.datasets import load_vocabulary

    run = concepts.run
    words = load_vocabulary(vocabulary) if isinstance(vocabulary, str) else list(dict.fromkeys(vocabulary))
    if not words:
        raise ConfigError("The vocabulary has no words; give a list of words or the name of a bundled one, 'common-words'.")
    dataset = run.study.dataset_of(run.study.activation_set(run.record["inputs"]["activations"]))
    labels = [label for s in run.sets for label in s.table["label"]]
    numbers = [number for number, label in enumerate(labels) if not label]
    votes = peak_words(run, dataset, numbers, top)
    if votes.empty:
        return pd.DataFrame(columns=["concept", "text", "confidence", "words"])
    embedder = run.study.embedder()
    voted = sorted(set(votes["word"]))
    cosine = embedder.embed(voted, progress) @ embedder.embed(words, progress).T
    place = {word: i for i, word in enumerate(voted)}
    named = sorted(set(votes["number"]))
    row = {number: i for i, number in enumerate(named)}
    weights = np.zeros((len(named), len(voted)), dtype=np.float32)
    np.add.at(weights, (votes["number"].map(row), votes["word"].map(place)), votes["value"].clip(lower=1e-6))
    weights /= weights.sum(axis=1, keepdims=True)
    scores = weights @ cosine
    scores -= scores.mean(axis=0)
    best = scores.argmax(axis=1)
    table = pd.DataFrame(
        {
            "concept": [f"{run.id}.{number}" for number in named],
            "text": [words[i] for i in best],
            "confidence": scores[np.arange(len(named)), best],
            "words": votes.groupby("number")["word"].agg(lambda w: ", ".join(dict.fromkeys(w))).loc[named].to_numpy(),
        }
    )
    author = vocabulary if isinstance(vocabulary, str) else f"{len(words)} words"
    run.study.catalog.add_names(
        [
            {
                "concept": c,
                "text": t,
                "source": "method",
                "author": f"vocabulary {author}",
                "confidence": s,
                "run": run.id,
            }
            for c, t, s in zip(table["concept"], table["text"], table["confidence"], strict=True)
        ]
    )
    return table
