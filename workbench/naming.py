"""Names from a vocabulary, by embedding.

A concept's strongest examples (none of them from the test split) each offer the word at the peak. A vocabulary word's score is
its mean cosine with those words, weighted by how strongly the concept was present, less its mean score over all concepts: a word
that is near everything names nothing. The same idea as Discover-then-Name (Rao et al., 2024), with words in the place of images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.errors import ConfigError, DataError
from workbench.progress import Progress

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.store.concept_list import BoundConcepts
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


@dataclass(frozen=True)
class Scored:
    """How well every word of a vocabulary fits every concept of a run that was fitted to no label.

    Attributes:
        numbers: The concepts' numbers, ``[c]``.
        words: The vocabulary, ``[v]``.
        scores: ``[c, v]``: mean cosine with the words at the peaks, less that of the average concept.
        peaks: The words at the peaks of each concept, as one text.
    """

    numbers: list[int]
    words: list[str]
    scores: Float[np.ndarray, "c v"]
    peaks: list[str]

    def best(self, number: int, count: int = 5) -> list[tuple[str, float]]:
        """The words that fit a concept best, with their scores; none for a concept that was not scored."""
        if number not in self.numbers:
            return []
        row = self.scores[self.numbers.index(number)]
        return [(self.words[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:count]]


def score_vocabulary(run: Run, vocabulary: str | list[str] = "common-words", top: int = 12, *, progress: Progress) -> Scored:
    """Score every word of a vocabulary as a name for every unlabelled concept of a run; nothing is recorded.

    Args:
        run: The run.
        vocabulary: A bundled vocabulary's name, a file with one word a line, or the words.
        top: How many examples vote.
        progress: Called with ``(done, total, text)``.

    Raises:
        ConfigError: The vocabulary is empty.
        DataError: The data are not texts.
    """
    from workbench.datasets import load_vocabulary

    words = load_vocabulary(vocabulary) if isinstance(vocabulary, str) else list(dict.fromkeys(vocabulary))
    if not words:
        raise ConfigError("The vocabulary has no words; give a list of words or the name of a bundled one, 'common-words'.")
    dataset = run.study.dataset_for(run)
    votes = peak_words(run, dataset, [number for number, label in enumerate(run.labels) if not label], top)
    if votes.empty:
        return Scored([], words, np.zeros((0, len(words)), dtype=np.float32), [])
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
    peaks = votes.groupby("number")["word"].agg(lambda w: ", ".join(dict.fromkeys(w))).loc[named].tolist()
    return Scored([int(number) for number in named], words, scores, peaks)


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
    run = concepts.run
    scored = score_vocabulary(run, vocabulary, top, progress=progress)
    if not scored.numbers:
        return pd.DataFrame(columns=["concept", "text", "confidence", "words"])
    best = scored.scores.argmax(axis=1)
    table = pd.DataFrame(
        {
            "concept": [f"{run.id}.{number}" for number in scored.numbers],
            "text": [scored.words[i] for i in best],
            "confidence": scored.scores[np.arange(len(best)), best],
            "words": scored.peaks,
        }
    )
    author = f"vocabulary {vocabulary}" if isinstance(vocabulary, str) else f"vocabulary of {len(scored.words)} words"
    known = run.study.catalog.names()
    # Naming again with the same outcome says nothing new, so it adds nothing to the history.
    named = set(zip(known["concept"], known["text"], known["author"], strict=True)) if len(known) else set()
    run.study.catalog.add_names(
        [
            {"concept": c, "text": t, "source": "method", "author": author, "confidence": s, "run": run.id}
            for c, t, s in zip(table["concept"], table["text"], table["confidence"], strict=True)
            if (c, t, author) not in named
        ]
    )
    return table
