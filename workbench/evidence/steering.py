"""Steering a causal language model: what it does to a concept's own tokens, what it costs, and what chance would do.

Every arm pushes by the same norm at every position that a capture takes: the concept, its sign-flipped direction, directions with
the concept's coordinates shuffled, and random directions, uniform ones and ones that vary as the activations do. The texts are
held out, and the units of all intervals are their documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.conversations import DEFAULT_POSITIONS
from workbench.edits import Edits
from workbench.errors import ConfigError
from workbench.evidence.controls import Controls
from workbench.evidence.doses import PAIRS, Doses, Search, find_doses
from workbench.evidence.passes import passes_and_readings, pushed, pushed_passes, scaled
from workbench.evidence.shifts import reading_share
from workbench.models import Batch, Model, Output, Site
from workbench.models.logits import TokenLogits, readings, shifts, thinned
from workbench.progress import Progress, silent
from workbench.statistics.intervals import Interval, mean_interval

RANDOM = 139
"""Random directions of each kind that a concept is judged by, at its dose."""
CURVE_RANDOM = 39
"""Those of them that are tried at every dose, for a curve: as few as have a band of 95%."""
SHUFFLED = 5
# Passes whose next-token distributions are compared with the unedited model's at a time: its logits are made once for all.
_TOGETHER = 24


@dataclass(frozen=True)
class Reading:
    """What some directions did at some doses, per text.

    Attributes:
        odds: Change of the log odds of each token set, ``[k, q, e, s]``, nats, mean over positions.
        loss: Change of the next-token loss, ``[k, q, e]``, nats a token.
        divergence: KL(base || steered) of the next-token distribution, ``[k, q, e]``, nats, mean over positions.
    """

    odds: Float[np.ndarray, "k q e s"]
    loss: Float[np.ndarray, "k q e"]
    divergence: Float[np.ndarray, "k q e"]

    def of(self, part: slice) -> Reading:
        """Of some of the directions."""
        return Reading(self.odds[part], self.loss[part], self.divergence[part])

    def dose(self, at: int) -> Reading:
        """At one of the doses."""
        return Reading(self.odds[:, [at]], self.loss[:, [at]], self.divergence[:, [at]])


@dataclass(frozen=True)
class Arms:
    """What one concept's direction did, with the controls that are its own: each of one direction, ``shuffled`` of several."""

    concept: Reading
    flipped: Reading
    shuffled: Reading


@dataclass(frozen=True)
class Passages:
    """Held-out texts as one batch, with the unedited model's reading of them.

    Attributes:
        batch: The texts.
        positions: Where they are steered, see `workbench.conversations.POSITIONS`.
        scored: Positions whose next token is scored, ``[e, t - 1]``; ``n`` of them are. With a large vocabulary they are some
            of each text, evenly spaced, see `workbench.models.logits.thinned`.
        text: The text of each, ``[n]``.
        true: The next token of each, ``[n]``.
        tokens: The unedited model's logits at each of the ``n``.
        loss: Of the unedited model, ``[e]``, nats a token.
        clusters: The document of each text, ``[e]``.
    """

    batch: Batch
    positions: str
    scored: Bool[Tensor, "e t"]
    text: Int[Tensor, "n"]
    true: Int[Tensor, "n"]
    tokens: TokenLogits
    loss: Float[np.ndarray, "e"]
    clusters: Int[np.ndarray, "e"]

    def mean(self, values: Float[Tensor, "n *rest"]) -> Float[np.ndarray, "e *rest"]:
        """Mean over the scored positions of each text."""
        total = torch.zeros(len(self.scored), *values.shape[1:]).index_add_(0, self.text, values.cpu())
        count = self.scored.sum(1).clamp(min=1).to(total)
        return (total / count.reshape(-1, *[1] * (values.ndim - 1))).numpy()

    def over_texts(self, values: Float[np.ndarray, "q e"]) -> tuple[Float[np.ndarray, "q"], Interval]:
        """The mean over texts, and its interval over their documents."""
        return values.mean(-1), mean_interval(values.T, self.clusters)


def read_passages(
    model: Model, texts: Sequence[str], positions: str = DEFAULT_POSITIONS, clusters: Int[np.ndarray, "e"] | None = None
) -> Passages:
    """The texts as the unedited model reads them, to be steered at some positions; each is a document unless told otherwise."""
    batch = model.batch(list(texts))
    tokens = _tokens_of(model.forward(batch, logits=False)[0])
    scored = thinned(batch.attention[:, 1:] & batch.keep[:, 1:], tokens.block(0, 1).shape[1])
    tokens = tokens.select(_before_next(scored))
    true = batch.inputs["input_ids"][:, 1:][scored]
    text, none = scored.nonzero()[:, 0].cpu(), np.zeros(len(batch), np.float32)
    clusters = np.arange(len(batch)) if clusters is None else clusters
    read = Passages(batch, positions, scored.cpu(), text, true, tokens, none, clusters)
    return replace(read, loss=read.mean(readings(tokens, true)[0]))


def steer_passages(
    model: Model,
    site: Site,
    directions: Float[Tensor, "k d"],
    doses: Sequence[float],
    unit: float,
    passages: Passages,
    sets: Sequence[Int[Tensor, "m"]],
    progress: Progress | None = None,
) -> Reading:
    """Add ``dose * unit`` times each direction at the positions of the passages, and read the next-token distribution.

    Args:
        model: A causal language model.
        site: Where to write.
        directions: Unit vectors.
        doses: Multiples of ``unit``; negative ones flip the sign.
        unit: The norm that dose 1 adds.
        passages: Where to read.
        sets: Token ids whose joint odds are followed.
        progress: Called with ``(done, total, text)``.
    """
    e, pushes = len(passages.batch), scaled(directions, [dose * unit for dose in doses])
    odds, loss = np.zeros((len(pushes), e, len(sets)), np.float32), np.zeros((len(pushes), e), np.float32)
    divergence = np.zeros_like(loss)
    _, base = readings(passages.tokens, passages.true, sets)
    at, first = _before_next(passages.scored), 0
    waiting: list[TokenLogits] = []
    vocabulary = passages.tokens.block(0, 1).shape[1]
    share = reading_share(model, site, passages.batch.attention.numel(), len(passages.true), vocabulary)
    passing, reading = passes_and_readings(progress or silent, f"steering at {site}", len(pushes), share)
    for part, output in pushed_passes(model, site, pushes, passages.batch, passages.positions, passing):
        steered = _tokens_of(output)
        each = steered.rows.chunk(part.stop - part.start)
        waiting += [replace(steered, rows=rows).select(at.to(rows.device)) for rows in each]
        if len(waiting) < _TOGETHER and part.stop < len(pushes):
            continue
        read = shifts(passages.tokens, waiting, passages.true, sets, partial(reading, first, part.stop))
        for number, shift in enumerate(read, first):
            odds[number] = passages.mean(shift.odds - base)
            loss[number] = passages.mean(shift.loss) - passages.loss
            divergence[number] = passages.mean(shift.divergence)
        waiting, first = [], part.stop
    shape = (len(directions), len(doses), e)
    return Reading(odds.reshape(*shape, len(sets)), loss.reshape(shape), divergence.reshape(shape))


def language_doses(
    model: Model, site: Site, controls: Controls, unit: float, passages: Passages, progress: Progress = silent
) -> Doses:
    """The doses at which random directions cost about 1, 3 and 10% of the next-token loss: the mean of the costlier kind.

    Raises:
        ConfigError: The smallest change destroys the model, see `find_doses`.
    """
    few, search = controls.some(PAIRS), Search(progress, f"looking for doses at {site}")

    def cost(dose: float) -> float:
        reading = steer_passages(model, site, few.directions, [-dose, dose], unit, passages, [], search.part)
        return float(few.most(lambda values: values.mean(0), reading.loss.mean((1, 2)))) / float(passages.loss.mean())

    return find_doses(cost, unit, "loss", search)


def firing(
    model: Model,
    site: Site,
    pushes: Sequence[Float[Tensor, d] | None],
    passages: Passages,
    watched: Sequence[ConceptSet],
    progress: Progress | None = None,
) -> list[Float[np.ndarray, "k c"]]:
    """Mean activation of every watched concept while each push is added at ``site``; None is the unedited model.

    Returns:
        One array a watched set; the mean is over the texts' tokens.
    """
    places = list(dict.fromkeys(model.site(place) for concepts in watched for place in concepts.reads))
    found: list[list[np.ndarray]] = [[] for _ in watched]
    for done, push in enumerate(pushes):
        if progress:
            progress(done, len(pushes), f"what else fires at {site}")
        edits = Edits() if push is None else Edits([pushed(site, push[None], len(passages.batch), passages.positions)])
        with model.edited(edits):
            seen = model.activations(passages.batch, places)
        rows = {str(place): tensor[passages.batch.keep] for place, tensor in seen.items()}
        for number, concepts in enumerate(watched):
            found[number].append(concepts.encode_from(rows.__getitem__).mean(0).cpu().numpy())
    return [np.stack(rows) for rows in found]


def shuffled_directions(direction: Float[Tensor, d], count: int, seed: int) -> Float[Tensor, "k d"]:
    """The direction with its coordinates in random orders: same norm, same values, nothing of the concept."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([direction[torch.randperm(len(direction), generator=rng)] for _ in range(count)])


def steer_arms(
    model: Model,
    site: Site,
    direction: Float[Tensor, d],
    doses: Doses,
    passages: Passages,
    own: Int[Tensor, "m"],
    seed: int,
    progress: Progress | None = None,
) -> Arms:
    """Steer by a concept, by its flipped direction and by shuffled ones, at every dose; see `steer_passages`."""
    every = torch.cat([direction[None], -direction[None], shuffled_directions(direction, SHUFFLED, seed)])
    found = steer_passages(model, site, every, doses.curve, doses.unit, passages, [own], progress)
    return Arms(*(found.of(part) for part in (slice(0, 1), slice(1, 2), slice(2, None))))


def _tokens_of(output: Output) -> TokenLogits:
    if output.tokens is None:
        raise ConfigError("Steering is measured on causal language models, and this one predicts no tokens: load a decoder.")
    return output.tokens


def _before_next(scored: Bool[Tensor, "e t"]) -> Bool[Tensor, "n"]:
    """Of the positions of all texts one after another, those that come right before a scored one."""
    return torch.nn.functional.pad(scored, (0, 1)).flatten()
