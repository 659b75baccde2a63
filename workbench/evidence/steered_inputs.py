"""The held-out inputs that concepts are steered on: a few, of different documents, short, and fewer where a pass takes long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from workbench.conversations import Conversation, shortened
from workbench.statistics.clusters import ENOUGH

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.models import Model, Site

INPUTS, INPUT_CHARACTERS = 12, 120
"""Inputs on which the readout is followed. The start of a text says enough, and each token is paid once a direction and dose."""
PASSAGES, PASSAGE_CHARACTERS = 16, 320
"""Texts on which the next tokens of a causal model are followed."""
CHARACTERS_A_TOKEN = 3
"""Texts are cut further where a tokenizer makes more tokens of them than this, such as one a byte."""
FEWEST_TOKENS = 8
"""To which texts are cut in any case, where a pass takes long."""
PRODUCTS = 1.2e10
"""Products of one pass over all inputs, above the site. Some 650 such passes, of random directions, stand behind a p value; of a
model of 270 million parameters they take about ten minutes of a processor."""


def one_a_cluster_first(clusters: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """An order of the rows in which one of each cluster comes before a second of any; otherwise as they are."""
    turn = pd.Series(clusters).groupby(clusters).cumcount().to_numpy()
    return np.argsort(turn, kind="stable")


def choose_inputs(
    dataset: Dataset, examples: Int[np.ndarray, "n"], clusters: Int[np.ndarray, "n"], seed: int
) -> tuple[list[Any], Int[np.ndarray, "e"]]:
    """Inputs of as many documents as there are, and the document of each; of texts not the shortest quarter, and their starts."""
    order = np.random.default_rng(seed).permutation(len(examples))
    order = order[one_a_cluster_first(clusters[order])][: INPUTS * 4]
    found = dataset.inputs(examples[order].tolist())
    chosen = list(range(len(found)))
    if dataset.modality == "text":
        chosen = sorted((i for i in chosen if found[i].strip()), key=lambda i: len(found[i]))
        middle = chosen[len(chosen) // 4 :] or chosen
        # Again one of each document first: the order was that of the lengths.
        chosen = [middle[turn] for turn in one_a_cluster_first(clusters[order[middle]])]
        found = [shortened(one, INPUT_CHARACTERS) for one in found]
    chosen = chosen[:INPUTS]
    return [found[i] for i in chosen], clusters[order[chosen]]


def choose_passages(texts: Sequence[str], clusters: Int[np.ndarray, "n"], seed: int) -> tuple[list[str], Int[np.ndarray, "e"]]:
    """Some of the longer texts, cut to a length at which many can be steered, and the document of each.

    A second text of a document is taken only where there are fewer documents than texts are wanted.
    """
    order = np.random.default_rng(seed).permutation(len(texts))
    order = order[one_a_cluster_first(clusters[order])]
    cut = [
        shortened(text if isinstance(text, Conversation) else text.strip(), PASSAGE_CHARACTERS)
        for text in map(texts.__getitem__, order)
    ]
    long = [place for place, text in enumerate(cut) if len(text) >= PASSAGE_CHARACTERS // 2]
    known = {cut[place] for place in long}
    chosen = (long + [place for place, text in enumerate(cut) if text and text not in known])[:PASSAGES]
    return [cut[place] for place in chosen], clusters[order[chosen]]


def passages_from(texts: Sequence[str], seed: int) -> list[str]:
    """The passages of texts that are documents of their own."""
    return choose_passages(texts, np.arange(len(texts)), seed)[0]


def affordable(model: Model, site: Site, texts: Sequence[Any], characters: int) -> list[Any]:
    """The first of some texts, as many as a model reads above a site with `PRODUCTS`, and at least `clusters.ENOUGH`.

    They are cut where so many would take more, and where the tokenizer makes more than a token of every `CHARACTERS_A_TOKEN`
    characters: an interval needs many documents more than long ones.

    Args:
        model: The model.
        site: Where it is edited.
        texts: The best first.
        characters: The most that each of them has.
    """
    blocks = sum(place.kind == "resid_post" for place in model.sites[model.sites.index(site) :])
    tokens = PRODUCTS / (12.0 * model.width(site) ** 2 * max(blocks, 1))
    most = min(characters // CHARACTERS_A_TOKEN, max(FEWEST_TOKENS, int(tokens / min(ENOUGH, len(texts)))))
    found, lengths, counts = list(texts), [len(text) for text in texts], _counts(model, texts)
    # Again and again: of a text that the model does not read to its end there are more tokens than are counted.
    while long := [place for place, count in enumerate(counts) if count > most and lengths[place] > 1]:
        for place in long:
            lengths[place] = max(1, min(lengths[place] - 1, lengths[place] * most // counts[place]))
            found[place] = shortened(texts[place], lengths[place])
        counts = _counts(model, found)
    return found[: max(ENOUGH, int((np.cumsum(counts) <= tokens).sum()))]


def _counts(model: Model, texts: Sequence[Any]) -> list[int]:
    counts: list[int] = model.batch(list(texts)).keep.sum(1).tolist()
    return counts
