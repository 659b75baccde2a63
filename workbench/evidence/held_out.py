"""The rows on which concepts stand trial: a sample of whole held-out examples, read once for all concepts of a set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.activations.labels import POSITION_POOLS, Targets, is_span, ranges, row_targets
from workbench.activations.store import ActivationSet
from workbench.concepts import ConceptSet
from workbench.datasets import Dataset
from workbench.errors import DataError
from workbench.statistics.clusters import example_clusters


@dataclass(frozen=True)
class HeldOut:
    """Rows of whole examples of one split, with their labels.

    Attributes:
        acts: The activations.
        rows: Row numbers, ascending, ``[n]``.
        segment: Which of ``examples`` each row belongs to, ``[n]``.
        examples: The examples' numbers in the data set, ``[e]``.
        tokens: Span labels of the rows, ``[n, l]``.
        wholes: Labels of the examples, ``[e, m]``.
        documents: The cluster of each example, ``[e]``: its document, else its content.
        first_of_copies: Whether no example before has the same text, ``[e]``.
    """

    acts: ActivationSet
    rows: Int[np.ndarray, "n"]
    segment: Int[np.ndarray, "n"]
    examples: Int[np.ndarray, "e"]
    tokens: Targets
    wholes: Targets
    documents: Int[np.ndarray, "e"]
    first_of_copies: Bool[np.ndarray, "e"]

    @property
    def clusters(self) -> Int[np.ndarray, "n"]:
        """The cluster of each row: intervals and nulls are made over these."""
        return self.documents[self.segment]

    @property
    def by_position(self) -> bool:
        """Whether a row is a position within an example."""
        return self.acts.pool in POSITION_POOLS

    @property
    def labels(self) -> list[str]:
        """Every label on trial."""
        return [*self.tokens.names, *self.wholes.names]

    def read(self, site: str) -> Float[Tensor, "n d"]:
        """The rows' activations at a site."""
        return torch.from_numpy(self.acts.at(site).read(self.rows))

    def means(self, values_nc: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "e c"]:
        """Mean over each example's rows."""
        starts = np.searchsorted(self.segment, np.arange(len(self.examples)))
        counts = np.diff(np.append(starts, len(self.segment)))
        return np.add.reduceat(values_nc, starts, axis=0) / counts[:, None]

    def peaks(self, values_nc: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "e c"]:
        """Largest value among each example's rows."""
        return np.maximum.reduceat(values_nc, np.searchsorted(self.segment, np.arange(len(self.examples))), axis=0)


def require_splits(acts: ActivationSet, dataset: Dataset, *splits: str) -> None:
    """See that some of the captured examples are of each split.

    Raises:
        DataError: None is.
    """
    captured = set(dataset.table["split"].to_numpy()[acts.index["example"].unique()])
    for split in splits:
        if split not in captured:
            raise _none_of(dataset, split)


def _none_of(dataset: Dataset, split: str) -> DataError:
    return DataError(
        f"None of the captured examples of '{dataset.name}' is in the {split} split; capture more, or give a split column."
    )


def held_out(
    acts: ActivationSet, dataset: Dataset, split: str, max_rows: int, seed: int, without: Collection[int] = ()
) -> HeldOut:
    """Sample whole examples of a split, up to about ``max_rows`` rows, without those of some numbers.

    Raises:
        DataError: The captured examples hold none of that split.
    """
    example = acts.index["example"].to_numpy()
    numbers, starts, counts = np.unique(example, return_index=True, return_counts=True)
    inside = np.flatnonzero((dataset.table["split"].to_numpy()[numbers] == split) & ~np.isin(numbers, list(without)))
    if not len(inside):
        raise _none_of(dataset, split)
    order = np.random.default_rng(seed).permutation(inside)
    cut = int(np.searchsorted(np.cumsum(counts[order]), max_rows)) + 1
    chosen = np.sort(order[:cut])
    rows = ranges(starts[chosen], counts[chosen])
    segment = np.repeat(np.arange(len(chosen)), counts[chosen])
    targets = row_targets(acts, dataset, rows)
    spans = [name for name in targets.names if is_span(name)]
    wholes = [name for name in targets.names if not is_span(name)]
    first = np.searchsorted(segment, np.arange(len(chosen)))
    per_example = targets.only(wholes)
    wholes_of = Targets(wholes, per_example.values[first])
    examples = numbers[chosen]
    documents = example_clusters(dataset, examples)
    return HeldOut(acts, rows, segment, examples, targets.only(spans), wholes_of, documents, _first_of_copies(dataset, examples))


def _first_of_copies(dataset: Dataset, examples: Int[np.ndarray, "e"]) -> Bool[np.ndarray, "e"]:
    if dataset.modality != "text":
        return np.ones(len(examples), dtype=bool)
    return ~dataset.table["text"].iloc[examples].duplicated().to_numpy()


def codes(concepts: ConceptSet, data: HeldOut, chunk: int = 8192) -> Float[np.ndarray, "n c"]:
    """The codes of held-out rows, some at a time."""
    read = {site: data.read(site) for site in concepts.reads}
    out = np.empty((len(data.rows), len(concepts)), dtype=np.float32)
    with torch.no_grad():
        for begin in range(0, len(out), chunk):
            part = slice(begin, begin + chunk)
            out[part] = concepts.encode_from(lambda site, part=part: read[site][part]).numpy()  # type: ignore[misc]
    return out
