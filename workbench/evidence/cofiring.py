"""Co-firing: how strongly the codes of two concept sets are correlated, and how strongly they would be by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from workbench.progress import Progress, silent
from workbench.statistics.clusters import ENOUGH
from workbench.statistics.dealing import givers
from workbench.statistics.nulls import upper

DRAWS, FEWEST_DRAWS = 99, 19
PRODUCTS = 2e12
"""Multiplications that all draws may take, beyond which there are fewer draws."""


class BestByChance(NamedTuple):
    """The 95% level of the largest of a concept's correlations with the concepts of another set, if they are unrelated.

    Attributes:
        first: ``[a]``, of each concept of the first set with those of the second; nan where the documents are too few.
        second: ``[b]``, of each concept of the second set with those of the first.
    """

    first: Float[np.ndarray, " a"]
    second: Float[np.ndarray, " b"]


def cofiring(first: Float[np.ndarray, "n a"], second: Float[np.ndarray, "n b"]) -> Float[np.ndarray, "a b"]:
    """Pearson correlation of the codes of two sets on the same rows; zero where a code is constant."""
    return _standard(first).T @ _standard(second)


def best_by_chance(
    first: Float[np.ndarray, "n a"],
    second: Float[np.ndarray, "n b"],
    example: Int[np.ndarray, " n"],
    document: Int[np.ndarray, " n"],
    seed: int,
    progress: Progress = silent,
    what: str = "",
) -> BestByChance:
    """What the best co-firing of each concept would be if the sets had nothing to do with each other.

    Each document gets one set's codes, those of the smaller one, of another document that is about as long or longer: each of its
    examples those of an example there, and both begin at a place that is drawn at random. So what codes have in common within
    documents, within examples and between neighbouring rows is kept. Every concept has a level of its own: the best of
    candidates that follow documents, as it does itself, is larger by chance.

    Args:
        first: ``[n, a]``; rows of a document in their order.
        second: ``[n, b]``, of the same rows.
        example: ``[n]``: the example of each row.
        document: ``[n]``: the document of each row. Fewer than `clusters.ENOUGH` of them give no level.
        seed: Of the draws: 99, or as few as 19 where the sets are so large that more would take minutes.
        progress: Called with draws done, draws and ``what``.

    Assumes documents that are exchangeable.
    """
    if first.shape[1] > second.shape[1]:
        return BestByChance(*best_by_chance(second, first, example, document, seed, progress, what)[::-1])
    if len(np.unique(document)) < ENOUGH:
        return BestByChance(np.full(first.shape[1], np.nan), np.full(second.shape[1], np.nan))
    deal, rng = _Deal(example, document), np.random.default_rng(seed)
    draws = int(np.clip(PRODUCTS / (first.size * second.shape[1]), FEWEST_DRAWS, DRAWS))
    fixed, forward, back = _standard(second), np.empty((draws, first.shape[1])), np.empty((draws, second.shape[1]))
    for number in range(draws):
        progress(number, draws, what)
        drawn = _standard(first[deal.rows(rng)]).T @ fixed
        forward[number], back[number] = drawn.max(1), drawn.max(0)
    return BestByChance(upper(forward), upper(back))


class _Deal:
    """Rows of other documents, example by example and in their order.

    Args:
        example: ``[n]``: the example of each row, numbered anyhow; of one document each.
        document: ``[n]``: the document of each row.
    """

    def __init__(self, example: Int[np.ndarray, " n"], document: Int[np.ndarray, " n"]):
        # Rows by document and example; of each example where its rows begin, of each document where its examples begin.
        self._sorted = np.lexsort((example, document))
        self._example, self._sizes = _runs(document[self._sorted], example[self._sorted])
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._place = np.arange(len(example)) - self._starts[self._example]
        self._document, self._examples = _runs(document[self._sorted][self._starts])
        self._first = np.cumsum(self._examples) - self._examples
        self._number = np.arange(len(self._sizes)) - self._first[self._document]
        lengths = np.add.reduceat(self._sizes, self._first)
        self._alike = bool((lengths == lengths[0]).all())
        self._givers = {length: givers(lengths, length) for length in np.unique(lengths)}
        self._lengths = lengths

    def rows(self, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        """For each row the row whose codes it gets."""
        if self._alike:
            source = rng.permutation(len(self._lengths))
        else:
            source = np.array([rng.choice(self._givers[length]) for length in self._lengths])
        of = source[self._document]
        turned = self._number + rng.integers(self._examples[of[self._first]])[self._document]
        example = self._first[of] + turned % self._examples[of]
        given = example[self._example]
        place = self._place + rng.integers(self._sizes[example])[self._example]
        found = np.empty(len(self._sorted), dtype=np.int64)
        found[self._sorted] = self._sorted[self._starts[given] + place % self._sizes[given]]
        return found


def _runs(*sorted_keys: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " k"]]:
    """The number of each run of equal rows, and how long each run is."""
    begins = np.any([np.diff(key, prepend=key[0] - 1) != 0 for key in sorted_keys], axis=0)
    number = np.cumsum(begins) - 1
    return number, np.bincount(number)


def _standard(z: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    z = z - z.mean(0)
    norm = np.sqrt(np.square(z).sum(0))
    return z / np.where(norm > 1e-12, norm, np.inf)
